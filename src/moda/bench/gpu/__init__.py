"""Measurements of a machine with a GPU in nine minutes, part by part; ``tests/benchmarks/gpu.sh`` runs them."""
