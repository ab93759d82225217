"""A second voice: Flite's statistical voices, with the phone times that Flite itself prints.

Flite (Black and Lenzo, 2001) is free software of Carnegie Mellon and a package of most systems. ``slt`` is a
woman, ``rms`` a man, both American; they sound less natural than Piper's, and are other speakers.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import soundfile
import soxr

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError
from moda.synthesis.lexicon import SILENCE, VOWELS, pronounce, words_of
from moda.synthesis.voice import Phone, Speech

PROGRAM = "flite"
SECONDS = 60  # a sentence takes a fraction of one
_NAMES = {"pau": SILENCE, "ax": "AH", "axr": "ER", "dx": "D"}  # others are ARPABET in lower case


class FliteVoice:
    """Reads English sentences aloud: one short process a sentence."""

    def __init__(self, name: str):
        """``name`` of the voice, as ``slt``; UserError when Flite is not installed or lacks it."""
        self.name = name
        if shutil.which(PROGRAM) is None:
            raise UserError(f"the voice flite_{name} needs the program flite; install it with: apt-get install flite")
        if name not in _run(["-lv"]).split():
            raise UserError(f"flite here has no voice {name}; install the full package, or leave the voice out")

    def speak(self, sentence: str, *, seed: int, length_scale: float = 1.0, pitch: float = 1.0) -> Speech:
        """As ``Voice.speak``. Nothing in Flite is left to chance, so ``seed`` changes nothing."""
        words = " ".join(words_of(sentence))
        if not words:
            raise UserError(f"there is nothing to say in {sentence!r}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            stretch = ["--setf", f"duration_stretch={length_scale * pitch:.4f}"]
            printed = _run(["-voice", self.name, *stretch, "-psdur", "-o", str(path), "-t", words])
            sound, rate = soundfile.read(path, dtype="float32")
        # played faster, the sound is higher by ``pitch``, formants too
        waveform = soxr.resample(sound, rate * pitch, SAMPLE_RATE).astype(np.float32)
        ends = [(name, float(end) / pitch) for name, end in (item.split(":") for item in printed.split())]
        return Speech(waveform, _phones(ends, sentence, len(waveform) / SAMPLE_RATE))


def _phones(ends: Sequence[tuple[str, float]], sentence: str, seconds: float) -> tuple[Phone, ...]:
    """Flite's phones and the times they end at, as ours; stress is the lexicon's, where both say the same vowel."""
    names = [_NAMES.get(name, name.upper()) for name, _ in ends]
    spoken = [phoneme for word in words_of(sentence) for phoneme in pronounce(word)]
    stressed = set()
    for start, own, size in SequenceMatcher(
        None, [p.name for p in spoken], names, autojunk=False
    ).get_matching_blocks():
        stressed |= {own + k for k in range(size) if spoken[start + k].stressed}
    edges = [0.0, *(min(end, seconds) for _, end in ends[:-1]), seconds]
    phones = [
        Phone(name, start, end, index in stressed and name in VOWELS)
        for index, (name, start, end) in enumerate(zip(names, edges[:-1], edges[1:], strict=True))
        if end > start
    ]
    return tuple(phones)


def _run(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise UserError(f"flite failed ({said[0] if said else error}); is it the full package?") from error
    return done.stdout
