"""What a trained system can do, in figures that each stand beside a control."""
