"""What an editor needs of a take."""
