"""Commands of `dualdub` that have files of their own."""
