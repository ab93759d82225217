"""What videos are read, and what of them is looked at."""
