"""Is the motion as smooth as real motion?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.metrics.diversity import ratio
from moda.eval.takes import Take


def mean_jerk(motion: np.ndarray, fps: int) -> float:
    """Mean absolute third derivative of (T, D) motion, in its units a second cubed; NaN below four frames."""
    return float(np.abs(np.diff(motion, n=3, axis=0)).mean() * fps**3) if len(motion) > 3 else float("nan")


class Smoothness(ClipMetric):
    """Jerk as a multiple of the truth's: above 1 trembles, below 1 is blurred (jerk: Flash and Hogan, 1985)."""

    title = "jerk"
    unit = "× truth"
    needs_truth = True
    better = "1"
    meaning = "smoothness: mean absolute jerk over all dimensions, divided by that of ground truth"

    def of_take(self, take: Take) -> float:
        return ratio(mean_jerk(take.scaled(take.motion), take.fps), mean_jerk(take.scaled(take.truth), take.fps))
