"""How sure a mean over clips is."""

import numpy as np


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of ``values`` (n,), clips drawn with replacement (Efron, 1979).

    None for fewer than two values: one clip says nothing about spread.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(values[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
