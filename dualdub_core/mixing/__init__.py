"""Two stems to one soundtrack: balance, places, ducking, loudness, true peak."""
