"""Phoneme posteriors at frame rate, from a packaged 50 Hz CTC network."""

import hashlib
import json

import numpy as np

from moda.audio.encoder import frames_of
from moda.audio.loudness import normalize_loudness
from moda.audio.windows import in_windows
from moda.errors import UserError
from moda.weights import find, get_weight

_STEP = 320  # samples between two outputs of the network
_CLASSES = 190  # phonemes and the word boundary; one more output, the last, is the CTC blank
_DELAY = 2  # steps by which an output follows its sound: measured on a voice with known phone times
_BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)
_WINDOW = 600  # steps encoded at once: 12 s
_OVERLAP = 200  # steps shared by neighbouring windows: 4 s


class PhonemeEncoder:
    """Fills ``SpeechEncoder`` with L = 1, C = 190: which phone is being said, softly.

    A CTC network (Graves et al., ICML 2006) answers "blank" between the peaks of its phones, where
    a mouth needs to know the phone all the same. So the blank is left out and the rest renormalised
    at a raised ``temperature``: p_k ~ exp(log p_k / temperature), which keeps the runners-up that
    tell of neighbouring phones. Posteriors are brought from 50 to 25 Hz by a binomial filter centred
    on the sound of the frame, 40 ms behind in the network's output, and given as sqrt(190 p) - 1: the
    square root makes Euclidean distance Hellinger distance, and a uniform posterior is 0.

    temperature: 1 gives the posteriors as they are; higher is softer.
    loudness: level in dB that the whole sound is brought to first; None keeps its own.

    The network looks at all of its input, so sound over 12 s is encoded in windows of 12 s that
    fade into each other over 4 s.

    Raises UserError when the network or what runs it is not installed.
    """

    name = "phonemes"
    num_layers = 1
    dim = _CLASSES

    def __init__(self, temperature: float = 4.0, loudness: float | None = -20.0) -> None:
        if temperature <= 0:
            raise UserError(f"temperature of the phoneme encoder is {temperature}; it must be above 0")
        self.temperature, self.loudness = temperature, loudness
        settings = [self.name, get_weight("phoneme_ctc").sha256, temperature, loudness, _DELAY, _WINDOW, _OVERLAP]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        self._session = _open_session()

    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        """(N,) float32 at 16 kHz to (T, 1, 190) float32."""
        rows = frames_of(len(waveform)) if num_frames is None else num_frames
        if rows == 0:
            return np.zeros((0, 1, self.dim), np.float32)
        if self.loudness is not None:
            waveform = normalize_loudness(waveform, self.loudness)
        steps = 2 * rows + _DELAY + 1
        sound = np.zeros((steps - 1) * _STEP, np.float32)
        taken = waveform[: len(sound)]
        sound[: len(taken)] = taken
        posterior = in_windows(steps, _WINDOW, _OVERLAP, lambda start, end: self._posterior(sound, start, end))
        # The sound of row t is centred half way through it, at step 2 t + 1.
        early, centre, late = (posterior[_DELAY + shift : _DELAY + shift + 2 * rows : 2] for shift in range(3))
        smooth = _BINOMIAL[0] * early + _BINOMIAL[1] * centre + _BINOMIAL[2] * late  # (T, 190)
        return (np.sqrt(_CLASSES * smooth) - 1)[:, None, :]

    def _posterior(self, sound: np.ndarray, start: int, end: int) -> np.ndarray:
        """Steps ``start`` to ``end`` of (n,) samples, (end - start, 190): softened, given that they are not blank."""
        part = sound[start * _STEP : (end - 1) * _STEP]
        (log_probs,) = self._session.run(["log_probs"], {"waveform": part[None]})  # (1, end - start, 191)
        scores = log_probs[0, :, :_CLASSES] / self.temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


def _open_session():
    """The network behind the runtime that its package ships; it computes on one thread."""
    path = find("phoneme_ctc")
    try:
        from hama import _engine
    except ImportError as error:
        raise UserError("the phoneme encoder needs hama; install it with: pip install --no-deps hama") from error
    if not _engine.available():
        raise UserError("hama has no engine for this kind of machine; use the log-mel encoder (audio=logmel)")
    try:
        return _engine.AsrSession(path.read_bytes())
    except RuntimeError as error:
        raise UserError(f"{path} cannot be loaded ({error}); run `moda weights check phoneme_ctc`") from error
