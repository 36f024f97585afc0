"""The procedural corpus: little videos, their sounds and their speech, with exact ground truth."""
