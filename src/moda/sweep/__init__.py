"""Many trainings: a grid or a search of settings, run as processes or as a SLURM array, in one table."""
