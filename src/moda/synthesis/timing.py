"""When frames show what, and smooth curves that switch on and off."""

from collections.abc import Sequence

import numpy as np

FPS = 25


def frame_times(num_frames: int) -> np.ndarray:
    """(T,) seconds: frame t shows the middle of its interval t / FPS to (t + 1) / FPS."""
    return (np.arange(num_frames) + 0.5) / FPS


def plateaus(spans: Sequence[tuple[float, float]], times: np.ndarray, attack: float, release: float) -> np.ndarray:
    """(T,) 1 inside every span, falling to 0 along a raised cosine ``attack`` s before, ``release`` s after."""
    value = np.zeros_like(times)
    for start, end in spans:
        outside = np.maximum((start - times) / attack, (times - end) / release)
        value = np.maximum(value, 0.5 + 0.5 * np.cos(np.pi * np.clip(outside, 0.0, 1.0)))
    return value
