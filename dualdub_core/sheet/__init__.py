"""One picture of a take."""
