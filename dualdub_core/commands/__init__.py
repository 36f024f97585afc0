"""The commands of `dualdub`, a file each, and what they share: options, voices, results, the console."""
