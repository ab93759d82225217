"""Is the mouth early or late?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.metrics.correlation import lips_move, pearson
from moda.eval.takes import Take

MAX_LAG = 10  # frames to either side, 0.4 s: beyond it a mouth is not late but wrong


def cross_correlation(curve: np.ndarray, reference: np.ndarray, max_lag: int = MAX_LAG) -> np.ndarray:
    """Pearson correlation of ``curve`` (T,) with ``reference`` (T,) at lags -max_lag to max_lag: (2 max_lag + 1,).

    At lag k frame t + k of the curve meets frame t of the reference, over the frames that both have.
    """
    length = len(curve)
    pairs = ((curve[max(lag, 0) : length + min(lag, 0)], reference[max(-lag, 0) : length - max(lag, 0)])
             for lag in range(-max_lag, max_lag + 1))  # fmt: skip
    return np.array([pearson(a, b) for a, b in pairs])


def best_lag(curve: np.ndarray, reference: np.ndarray, max_lag: int = MAX_LAG) -> float:
    """Lag in frames where the two agree best, positive when ``curve`` is late; NaN when it stands still."""
    values = cross_correlation(curve, reference, max_lag)
    if not np.isfinite(values).any():
        return float("nan")
    return float(np.nanargmax(values) - max_lag)


def _lag_from_truth(take: Take) -> float:
    lips, truth = take.lips[take.speech], take.truth_lips[take.speech]
    return best_lag(lips, truth) if lips_move(lips) and lips_move(truth) else float("nan")


class Lag(ClipMetric):
    """Mean over clips of the lag behind the truth's lips."""

    title = "lag"
    group = "lips and sound"
    unit = "frames"
    needs_truth = True
    better = "0"
    meaning = "frames by which the lips are late against ground truth (best cross-correlation within 10 frames)"

    def of_take(self, take: Take) -> float:
        return _lag_from_truth(take)


class WithinOneFrame(ClipMetric):
    """Share of the takes that lag by one frame at most; a mean lag of 0 can hide wild ones of both signs."""

    title = "lag ≤ 1"
    group = "lips and sound"
    needs_truth = True
    better = "higher"
    meaning = "share of the clips whose lips lag or lead ground truth by one frame at most"

    def of_take(self, take: Take) -> float:
        lag = _lag_from_truth(take)
        return float(abs(lag) <= 1) if np.isfinite(lag) else float("nan")


class AudioVisualLag(ClipMetric):
    """Lag of the lips behind the loudness of the sound. Lips open before the voice sounds, so truth's is not 0."""

    title = "audio-visual lag"
    group = "lips and sound"
    unit = "frames"
    better = "truth"
    meaning = "frames by which the lips are late against the loudness of the sound; compare with ground truth's"

    def of_take(self, take: Take) -> float:
        lips = take.lips[take.speech]
        if take.loudness is None or not lips_move(lips):
            return float("nan")
        return best_lag(lips, take.loudness[take.speech])
