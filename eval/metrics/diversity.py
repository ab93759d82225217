"""Does the same speech come out differently each time, and does anything move at all?"""

from collections.abc import Sequence

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take


class Diversity(ClipMetric):
    """Standard deviation over the takes of one clip, averaged over frames and dimensions.

    Undefined for a row with one take a clip: the truth happened once.
    """

    title = "diversity"
    unit = "σ"
    meaning = (
        "standard deviation of a clip's motion over seeds (in the mismatched row: over other clips' sound), "
        "in standard deviations of the training set"
    )

    def of_clip(self, takes: Sequence[Take]) -> float:
        if len(takes) < 2:
            return float("nan")
        length = min(len(take.motion) for take in takes)
        motions = np.stack([take.scaled(take.motion[:length]) for take in takes])  # (takes, T, D)
        return float(motions.std(0, ddof=1).mean())

    def of_take(self, take: Take) -> float:
        return float("nan")


class Liveliness(ClipMetric):
    """How much the lips move, as a share of the truth; averaging over possible motions shows as less than 1."""

    title = "lip range"
    unit = "× truth"
    needs_truth = True
    better = "1"
    meaning = "standard deviation over time of the opening of the lips, divided by that of ground truth"

    def of_take(self, take: Take) -> float:
        return ratio(take.lips[take.speech].std(), take.truth_lips[take.speech].std())


class MotionRange(ClipMetric):
    """How much the whole face and head move, as a share of the truth."""

    title = "motion range"
    unit = "× truth"
    needs_truth = True
    better = "1"
    meaning = "standard deviation over time, averaged over all dimensions, divided by that of ground truth"

    def of_take(self, take: Take) -> float:
        return ratio(take.scaled(take.motion).std(0).mean(), take.scaled(take.truth).std(0).mean())


def ratio(value: float, truth: float) -> float:
    """``value`` / ``truth``, NaN where the truth stands still."""
    return float(value / truth) if truth > 1e-9 else float("nan")
