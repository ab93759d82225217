"""Does the face show the emotion that the truth's does?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take


class EmotionAgreement(ClipMetric):
    """Overlap of the probabilities of seven emotions with the truth's: 1 less their total variation distance."""

    title = "emotion agreement (mini-Xception)"
    group = "identity"
    needs_truth = True
    better = "higher"
    meaning = (
        "overlap, 0 to 1, of the mean probabilities of seven emotions with ground truth's, by a small network trained "
        "on FER-2013; two clips of unlike emotions can still overlap, so compare with the codec ceiling"
    )

    def of_take(self, take: Take) -> float:
        if take.emotion is None or take.truth_emotion is None:
            return float("nan")
        return float(np.minimum(take.emotion, take.truth_emotion).sum())
