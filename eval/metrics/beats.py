"""Does the head move with the rhythm of the speech?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take

SIGMA = 3.0  # frames; a beat of the head this far from one of the sound counts exp(-1/2)
FEWEST_BEATS = 2
STILL = 0.25  # degrees of standard deviation, mean of the angles: a re-encoded still measures up to 0.16


def head_beats(rotation: np.ndarray) -> np.ndarray:
    """Frames at which a head (T, 3) in degrees comes to rest: local minima of its angular speed, smoothed."""
    speed = np.linalg.norm(np.diff(rotation, axis=0), axis=1)
    speed = np.convolve(speed, [0.25, 0.5, 0.25], mode="same")
    inner = speed[1:-1]
    moving = speed.mean()
    # a minimum between two movements, not the tremor of a head at rest
    return np.flatnonzero((inner < speed[:-2]) & (inner <= speed[2:]) & (inner < moving)) + 1


def sound_beats(loudness: np.ndarray) -> np.ndarray:
    """Frames at which (T,) loudness rises most: local maxima of its increase above their mean."""
    rise = np.maximum(np.diff(loudness), 0)
    if not rise.any():
        return np.empty(0, int)
    inner = rise[1:-1]
    return np.flatnonzero((inner > rise[:-2]) & (inner >= rise[2:]) & (inner > rise[rise > 0].mean())) + 2


def alignment(beats: np.ndarray, reference: np.ndarray) -> float:
    """Mean over ``beats`` of exp(-d² / 2σ²), d to the nearest of ``reference``; NaN for fewer than two of either."""
    if min(len(beats), len(reference)) < FEWEST_BEATS:
        return float("nan")
    distance = np.abs(beats[:, None] - reference).min(1)
    return float(np.exp(-(distance**2) / (2 * SIGMA**2)).mean())


class BeatAlignment(ClipMetric):
    """Share of the head's beats that meet one of the sound (Li et al., 2021, as SadTalker uses it)."""

    title = "beat alignment"
    group = "motion"
    better = "truth"
    meaning = (
        "how near each rest of the head is to a rise of the sound, 1 at it, 0.61 three frames off; what chance gives "
        "depends on how many beats the sound has: compare with ground truth and mismatched audio"
    )

    def of_take(self, take: Take) -> float:
        rotation = take.statistics.layout.groups.get("rotation")
        if rotation is None or take.loudness is None or len(take.motion) < 4:
            return float("nan")
        head = np.asarray(take.motion, np.float64)[:, rotation]
        if head.std(0).mean() < STILL:
            return float("nan")
        return alignment(head_beats(head), sound_beats(take.loudness))
