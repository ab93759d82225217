"""One level for all speech, so that features do not tell recordings apart."""

import numpy as np

from moda.audio.encoder import SAMPLE_RATE

_BLOCK = SAMPLE_RATE // 50  # 20 ms
_LARGEST_GAIN = 30.0  # near silence stays near silence


def normalize_loudness(waveform: np.ndarray, level: float = -20.0) -> np.ndarray:
    """Scale (N,) sound so that its loud parts have ``level`` dB relative to full scale.

    The loud parts are the 95th percentile of the RMS of 20 ms blocks, which pauses do not move.
    The gain is one number for the whole sound, at most 30 (about 30 dB). Returns float32; samples
    may leave [-1, 1].
    """
    whole = len(waveform) // _BLOCK * _BLOCK
    if whole == 0:
        return waveform.astype(np.float32)
    blocks = waveform[:whole].astype(np.float32).reshape(-1, _BLOCK)
    loud = float(np.percentile(np.sqrt(np.mean(blocks**2, axis=1)), 95))
    gain = min(_LARGEST_GAIN, 10 ** (level / 20) / max(loud, 1e-9))
    return (gain * waveform).astype(np.float32)
