"""The MFCC that SyncNet was trained on: those of python_speech_features with its defaults.

Davis and Mermelstein, 1980, with an energy for the first coefficient. Samples stay at int16 scale.
"""

import numpy as np
from scipy.fft import dct

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError

WINDOW, HOP, FFT = 400, 160, 512  # 25 ms, 10 ms
FILTERS, COEFFICIENTS = 26, 13
PRE_EMPHASIS, LIFTER = 0.97, 22
VOICE = 4800  # Hz, below which formants lie
TINY = np.finfo(float).eps  # stands for a power of nothing, whose logarithm is asked for


def mfcc(audio: np.ndarray, warp: float = 1.0) -> np.ndarray:
    """(N,) samples at 16 kHz in int16 scale to (S, 13) float64, S = 1 + ceil((N - 400) / 160).

    Windows are rectangular and the last is filled up with zeros. Raises UserError when there is no sound
    or more than one channel. warp: of all frequencies, as a shorter (below 1) or longer vocal tract has them.
    """
    if audio.ndim != 1 or not len(audio):
        raise UserError(f"MFCC takes one channel of sound (N,), not an array of shape {audio.shape}")
    signal = audio.astype(np.float64)
    signal[1:] -= PRE_EMPHASIS * signal[:-1].copy()
    steps = steps_of(len(signal))
    signal = np.pad(signal, (0, (steps - 1) * HOP + WINDOW - len(signal)))
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]  # (S, 400)
    power = np.abs(np.fft.rfft(windows, FFT)) ** 2 / FFT  # (S, 257)
    energies = power @ _filters(warp).T
    cepstrum = np.asarray(dct(np.log(np.where(energies == 0, TINY, energies)), norm="ortho"))[:, :COEFFICIENTS]
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    total = power.sum(1)
    cepstrum[:, 0] = np.log(np.where(total == 0, TINY, total))
    return cepstrum


def steps_of(samples: int) -> int:
    """Number of windows of so many samples; the last may reach beyond them."""
    return 1 + max(0, -(-(samples - WINDOW) // HOP))


def _filters(warp: float) -> np.ndarray:
    """(26, 257) triangles between whole bins, equally spaced in mel from 0 to 8 kHz."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), FILTERS + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    if warp != 1:  # all of the voice by the same factor, and the rest so that the range stays (Jaitly and Hinton, 2013)
        hertz = np.interp(hertz, [0, VOICE, SAMPLE_RATE / 2], [0, VOICE * warp, SAMPLE_RATE / 2])
    edges = np.floor((FFT + 1) * hertz / SAMPLE_RATE)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(FFT // 2 + 1)
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))
