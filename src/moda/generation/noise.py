"""The noise that windows of motion are sampled from."""

import numpy as np
import torch


def window_noise(
    seed: int, window: int, shape: tuple[int, int], shared: int = 0, period: int | None = None
) -> torch.Tensor:
    """Standard normal noise (W, C) that is a function of (seed, window) alone: made on the CPU, whatever the batch.

    Its first ``shared`` rows, at most half, are the last of the window before. After ``period`` windows it repeats.
    """
    noise = _drawn(seed, window % (period or window + 1), shape)
    if window and shared:
        noise[:shared] = _drawn(seed, (window - 1) % (period or window), shape)[-shared:]
    return noise


def _drawn(seed: int, window: int, shape: tuple[int, int]) -> torch.Tensor:
    state = int(np.random.SeedSequence([seed, window]).generate_state(1, np.uint64)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(state))
