"""Everything that makes weights: corpus, precomputation, trainers. Never installed with the package."""
