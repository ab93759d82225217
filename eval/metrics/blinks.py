"""Do the eyes blink as often as people's do?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take

# Blendshape weights: closed above the first, open again below the second. Two thresholds, so that
# a trembling lid is not counted twice.
CLOSED, OPEN = 0.45, 0.25


def count_blinks(closure: np.ndarray) -> int:
    """Number of times the (T,) eye closure, 0 open to 1 shut, goes above 0.45 having been below 0.25."""
    blinks, ready = 0, True
    for value in closure:
        if ready and value > CLOSED:
            blinks, ready = blinks + 1, False
        elif value < OPEN:
            ready = True
    return blinks


class BlinkRate(ClipMetric):
    """Blinks a minute; undefined for a layout that has no eyelids of its own."""

    title = "blinks"
    unit = "/min"
    better = "truth"
    meaning = "blinks a minute; people who talk blink 15 to 30 times"
    digits = 0

    def of_take(self, take: Take) -> float:
        lids = list(take.statistics.layout.subsets.get("blink", ()))
        if not lids or not len(take.motion):
            return float("nan")
        return count_blinks(np.asarray(take.motion)[:, lids].mean(1)) * 60 * take.fps / len(take.motion)
