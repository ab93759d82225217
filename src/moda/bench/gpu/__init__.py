"""What a machine with a GPU is asked in nine minutes, part by part; ``tests/benchmarks/gpu.sh`` runs them."""
