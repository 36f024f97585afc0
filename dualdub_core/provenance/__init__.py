"""What made a file, kept inside the file."""
