"""What a voice gives: sound with exact phone times."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from moda.audio.encoder import SAMPLE_RATE

DEFAULT_VOICE = "piper_joe"
# name -> whether a woman speaks
VOICES = {DEFAULT_VOICE: False, "flite_rms": False, "flite_slt": True}


@dataclass(frozen=True)
class Phone:
    """An ARPABET phone (or SIL) and when it sounds, in seconds; ``stressed`` marks vowels."""

    name: str
    start: float
    end: float
    stressed: bool = False

    def moved(self, seconds: float) -> "Phone":
        return Phone(self.name, self.start + seconds, self.end + seconds, self.stressed)


@dataclass(frozen=True)
class Speech:
    """waveform: (N,) float32, 16 kHz. phones: cover 0 to N / 16000 without gaps."""

    waveform: np.ndarray
    phones: tuple[Phone, ...]

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


class Voice(Protocol):
    """Reads sentences aloud; the same arguments give the same samples."""

    def speak(self, sentence: str, *, seed: int, length_scale: float = 1.0, pitch: float = 1.0) -> Speech:
        """Say one sentence.

        length_scale: duration relative to the voice's own. pitch: factor on pitch and formants.
        """
        ...
