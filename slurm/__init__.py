"""SLURM jobs: what a job asks for, its readable batch script, the queue. Installed as ``moda.slurm``."""
