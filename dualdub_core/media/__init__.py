"""Video and sound files: what they hold, in and out, to the sample."""
