"""Whether mouth and sound belong together, and by how much one of them is late.

With SyncNet: Sync-C and an offset, as ``moda.eval.sync`` defines them (about 5 ms a frame on a GPU, 60 on a
CPU core). Without it: how well the opening of the lips follows the loudness of the sound at each lag, which
costs nothing, and tells clearly wrong sound from right one, but not one frame from the next; on real faces
its peak was 0.14 to 0.36, not sure enough for sound to be moved.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from moda.eval.metrics.lag import cross_correlation
from moda.eval.metrics.loudness import loudness, speech_span

LAGS = 15  # frames to either side
LEAD = 1  # frame by which lips usually open before the loudness rises
SURE_PEAK, SURE_GAIN = 0.45, 0.25  # correlation at the best lag, and above that at the usual one, to act upon it
SURE_CONFIDENCE = 3.0  # Sync-C to act upon an offset of SyncNet
NEAR = 1  # frame that is left alone


@dataclass(frozen=True)
class Sync:
    """offset: frames by which the sound is late, to be taken back. score: Sync-C of SyncNet, else the correlation.

    sure: whether it is so clear that the sound may be moved by it.
    """

    offset: int
    score: float
    sure: bool

    @property
    def correction(self) -> int:
        """Frames by which to take the sound earlier (later where negative); 0 where nothing is to be done."""
        return self.offset if self.sure and abs(self.offset) > NEAR else 0


def sync_by_loudness(lips: np.ndarray, waveform: np.ndarray) -> Sync | None:
    """Opening of the lips (T,) against the sound (640 T,); None where one of them stands still."""
    length = len(lips)
    speech = speech_span(waveform, length)
    curve, reference = lips[speech], loudness(waveform, length)[speech]
    if len(curve) < 4 * LAGS:
        return None
    values = cross_correlation(curve, reference, LAGS)
    if not np.isfinite(values).all():
        return None
    best = int(values.argmax())
    usual = values[LAGS - LEAD - 1 : LAGS - LEAD + 2].max()
    sure = bool(values[best] > SURE_PEAK and values[best] - usual > SURE_GAIN and 0 < best < 2 * LAGS)
    return Sync(-(best - LAGS + LEAD), float(values[best]), sure)


def sync_by_network(crops: Iterable[np.ndarray], waveform: np.ndarray, score: Callable) -> Sync | None:
    """uint8 BGR crops (224, 224, 3) of T frames against the sound (640 T,), by ``moda.eval.sync.sync_score``."""
    frames = np.stack(list(crops))
    sound = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    found = score(frames, sound)
    return Sync(-found.offset, found.sync_c, found.sync_c > SURE_CONFIDENCE)
