"""Do the lips shut for p, b and m?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.metrics.correlation import lips_move
from moda.eval.takes import Take

REACH = 2  # frames to either side: the lips meet before the sound bursts
FEWEST = 3  # p, b and m; fewer say nothing


class BilabialClosure(ClipMetric):
    """Share of the other moments of the speech at which the lips are further open than at a p, b or m.

    A moment is the least opening within five frames, in both; equals count half. What knows nothing of the
    sound scores 0.5. Needs no network that has seen a face.
    """

    title = "closure on p, b, m"
    group = "lips and sound"
    better = "higher"
    meaning = (
        "share of the moments of the speech at which the lips are further open than within two frames of a p, b or m "
        "of the sound, which a phoneme network finds: 1 shut for all of them, 0.5 by chance"
    )

    def of_take(self, take: Take) -> float:
        if take.bilabials is None:
            return float("nan")
        speech, lips = take.speech, np.asarray(take.lips, np.float64)
        at = take.bilabials[(take.bilabials >= speech.start) & (take.bilabials < speech.stop)]
        if len(at) < FEWEST or not lips_move(lips[speech]):
            return float("nan")
        padded = np.pad(lips, REACH, mode="edge")
        least = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1).min(1)  # (T,)
        usual, shut = least[speech], least[at][:, None]
        return float(((usual > shut) + 0.5 * (usual == shut)).mean())
