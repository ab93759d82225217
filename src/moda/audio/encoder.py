"""The interface that every speech encoder fills."""

from typing import Protocol

import numpy as np

SAMPLE_RATE = 16_000  # every waveform inside moda is 16 kHz mono float32 in [-1, 1]
SAMPLES_PER_FRAME = 640  # at 25 frames a second


def frames_of(num_samples: int) -> int:
    """Number of video frames that cover ``num_samples`` of 16 kHz sound; the last may be partly silent."""
    return -(-num_samples // SAMPLES_PER_FRAME)


class SpeechEncoder(Protocol):
    """Frozen speech features, one row a video frame.

    Row t describes the sound shown with frame t, samples 640 t to 640 (t + 1); the encoder may look
    around it. Sound of any length is encoded with bounded memory.

    name, fingerprint: which encoder, and a hash of the files and settings that define its output.
    num_layers, dim: L and C of the features.
    """

    name: str
    fingerprint: str
    num_layers: int
    dim: int

    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        """(N,) float32 at 16 kHz to (T, L, C) float32; T is ``num_frames``, by default ``frames_of(N)``.

        A longer ``num_frames`` sees silence after the end; a shorter one drops the tail.
        """
        ...
