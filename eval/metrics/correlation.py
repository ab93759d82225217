"""Does the mouth move as the truth's does?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take

# A curve that moves less than this (mouth widths, blendshape weights) stands still: what is left
# is rounding, and its correlation would be noise.
STILL = 1e-5
FEWEST_FRAMES = 10
# Lips whose opening moves less than this (mouth widths) are shut or a still picture's: landmarks of re-encoded
# stills tremble by up to 0.0024, lips that speak move by 0.05 and more.
TREMBLE = 0.005


def lips_move(lips: np.ndarray) -> bool:
    """Whether (T,) openings are more than the tremble of landmarks; nothing can be said of the timing of others."""
    return len(lips) > 0 and float(np.std(lips)) >= TREMBLE


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two (T,) curves, in [-1, 1]; NaN when either stands still or T < 10."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < FEWEST_FRAMES or a.std() < STILL or b.std() < STILL:
        return float("nan")
    return float(np.clip(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()), -1, 1))


class LipCorrelation(ClipMetric):
    """Correlation of the lip aperture with the truth's, within the speech."""

    title = "lip aperture r"
    group = "lips and sound"
    needs_truth = True
    better = "higher"
    meaning = "Pearson correlation of the opening of the lips with ground truth, from the first to the last sound"

    def of_take(self, take: Take) -> float:
        lips, truth = take.lips[take.speech], take.truth_lips[take.speech]
        return pearson(lips, truth) if lips_move(lips) and lips_move(truth) else float("nan")


class DimensionCorrelation(ClipMetric):
    """Correlation of one named subset of the layout (its mean over dimensions) with the truth's, within the speech."""

    group = "lips and sound"
    needs_truth = True
    better = "higher"

    def __init__(self, subset: str = "jaw_open", title: str = "jaw opening r"):
        self.subset, self.title = subset, title
        self.meaning = f"Pearson correlation of the layout's {subset} subset with ground truth, within the speech"

    def of_take(self, take: Take) -> float:
        subset = list(take.statistics.layout.subsets.get(self.subset, ()))
        if not subset:
            return float("nan")
        return pearson(take.motion[take.speech][:, subset].mean(1), take.truth[take.speech][:, subset].mean(1))
