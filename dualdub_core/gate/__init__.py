"""Takes judged against thresholds, and made again until one passes."""
