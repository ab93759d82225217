"""When the sound holds a p, b or m: what lips have to shut for, found without a transcript."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moda.audio.phonemes import PhonemeEncoder
from moda.errors import UserError
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.reading.view import View

VERSION = 1
BILABIALS = (10, 31, 35, 36, 37)  # outputs of the phoneme network: b, m, p and two more p of Korean
SURE = 0.2  # of the posterior, the blank left out; a peak of one step between two frames leaves a quarter in each


class PhoneExtractor:
    """{"bilabials": (n,) frames at which a p, b or m is most certain}, of the sound alone."""

    name = "phones"
    needs_sound = True

    @cached_property
    def encoder(self) -> PhonemeEncoder:
        return PhonemeEncoder(temperature=1.0)

    def identity(self) -> dict[str, Any]:
        return {"version": VERSION, "encoder": self.encoder.fingerprint, "sure": SURE}

    def begin(self, view: View) -> "_Phones":
        return _Phones(self, view)


@dataclass
class _Phones:
    extractor: PhoneExtractor
    view: View

    def add(self, frames: np.ndarray) -> None:
        pass  # the sound is read as a whole

    def finish(self) -> Arrays:
        waveform = self.view.audio().astype(np.float32) / 32768
        if not waveform.any():
            raise UserError("its sound is silent")
        rows = self.extractor.encoder.encode(waveform, self.view.num_frames)[:, 0].astype(np.float64)
        posterior = (rows + 1) ** 2 / rows.shape[1]  # the encoder gives sqrt(190 p) - 1
        return {"bilabials": peaks(posterior[:, BILABIALS].sum(1), SURE)}


def peaks(curve: np.ndarray, threshold: float) -> np.ndarray:
    """Frame of the maximum of every run of a (T,) curve above ``threshold``: (n,) ascending."""
    above = np.concatenate([[False], curve > threshold, [False]])
    edges = np.flatnonzero(np.diff(above.astype(int)))
    return np.array([start + int(np.argmax(curve[start:end])) for start, end in edges.reshape(-1, 2)], np.int64)
