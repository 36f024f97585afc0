"""What is said, when and by whom: scripts in, plans and captions out."""
