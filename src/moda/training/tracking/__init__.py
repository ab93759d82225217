"""What a training records, and where to."""
