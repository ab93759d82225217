"""Several speech encoders side by side as one."""

import hashlib
from collections.abc import Sequence

import numpy as np

from moda.audio.encoder import SpeechEncoder, frames_of
from moda.errors import UserError


class CombinedEncoder:
    """Fills ``SpeechEncoder`` by laying the features of ``encoders`` behind each other (C adds up).

    Raises UserError for encoders whose number of layers differs.
    """

    def __init__(self, encoders: Sequence[SpeechEncoder]) -> None:
        layers = {encoder.num_layers for encoder in encoders}
        if len(layers) != 1:
            raise UserError(f"encoders to be combined must have one number of layers, not {sorted(layers)}")
        self._encoders = tuple(encoders)
        self.name = "+".join(encoder.name for encoder in encoders)
        self.num_layers = layers.pop()
        self.dim = sum(encoder.dim for encoder in encoders)
        parts = " ".join(encoder.fingerprint for encoder in encoders)
        self.fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:16]

    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        """(N,) float32 at 16 kHz to (T, L, sum of C) float32."""
        rows = frames_of(len(waveform)) if num_frames is None else num_frames
        return np.concatenate([encoder.encode(waveform, rows) for encoder in self._encoders], axis=2)
