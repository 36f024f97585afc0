"""What makes decoding fast: the step of one frame, its fixed memory, its graph on a GPU, and its precision."""
