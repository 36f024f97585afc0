"""Clips of any length, window by window, in memory that does not grow."""
