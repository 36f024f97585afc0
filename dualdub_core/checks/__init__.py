"""What can be known before a run: the machine, the files, the memory and the time."""
