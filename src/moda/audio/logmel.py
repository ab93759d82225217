"""Log-mel energies at frame rate: features that need no network."""

import hashlib
import json

import numpy as np
from scipy.signal.windows import hann

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, frames_of
from moda.audio.loudness import normalize_loudness

_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms: four in a video frame
_FFT = 1024
_FLOOR = 1e-6  # power of noise far below speech at the normalised level
_MEAN, _SCALE = -3.0, 4.4  # of log energies of speech at the normalised level, pauses included
_ROWS_AT_ONCE = 512  # bounds memory: 20 s of spectra


class LogMelEncoder:
    """Fills ``SpeechEncoder`` with L = 1, C = 4 x ``num_mels``: the four 10 ms steps of each video frame.

    Step j of row t is a 25 ms window centred at sample 640 t + 160 j + 80, so a row sees samples
    640 t - 120 to 640 t + 760. Values are natural logarithms of mel-filtered power, shifted and
    scaled by constants to about zero mean and unit variance on speech.

    num_mels: triangular filters, equally spaced in mel (O'Shaughnessy's formula) from 50 Hz to 8 kHz.
    loudness: level in dB that the whole sound is brought to first; None keeps its own.
    """

    name = "logmel"
    num_layers = 1

    def __init__(self, num_mels: int = 40, loudness: float | None = -20.0) -> None:
        self.num_mels, self.loudness = num_mels, loudness
        self.dim = SAMPLES_PER_FRAME // _HOP * num_mels
        settings = [self.name, num_mels, loudness, _WINDOW, _HOP, _FFT, _FLOOR, _MEAN, _SCALE]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        self._window = hann(_WINDOW, sym=False).astype(np.float32)
        self._filters = mel_filters(num_mels, _FFT).astype(np.float32)

    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        """(N,) float32 at 16 kHz to (T, 1, 4 x num_mels) float32."""
        rows = frames_of(len(waveform)) if num_frames is None else num_frames
        if self.loudness is not None:
            waveform = normalize_loudness(waveform, self.loudness)
        lead = (_WINDOW - _HOP) // 2  # a window reaches this far beyond its step on both sides
        sound = np.zeros(rows * SAMPLES_PER_FRAME + 2 * lead, np.float32)
        taken = waveform[: len(sound) - lead]
        sound[lead : lead + len(taken)] = taken
        features = np.empty((rows, 1, self.dim), np.float32)
        for begin in range(0, rows, _ROWS_AT_ONCE):
            end = min(rows, begin + _ROWS_AT_ONCE)
            part = sound[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME + 2 * lead]
            features[begin:end, 0] = self._log_energies(part).reshape(end - begin, self.dim)
        return (features - _MEAN) / _SCALE

    def _log_energies(self, sound: np.ndarray) -> np.ndarray:
        """(steps x 160 + 240,) samples to (steps, num_mels)."""
        windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(windows * self._window, _FFT)) ** 2  # (steps, 513)
        return np.log(power @ self._filters.T + _FLOOR)


def mel_filters(num_mels: int, fft: int, low: float = 50.0, high: float = SAMPLE_RATE / 2) -> np.ndarray:
    """(num_mels, fft / 2 + 1) triangles of height 1 between ``low`` and ``high`` Hz.

    mel = 2595 log10(1 + hertz / 700) (O'Shaughnessy, Speech Communication, 1987).
    """
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (low, high))
    mels = np.linspace(lowest, highest, num_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hertz = np.fft.rfftfreq(fft, 1 / SAMPLE_RATE)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre)))
