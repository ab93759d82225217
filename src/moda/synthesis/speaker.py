"""Who speaks: the voice, manner and appearance of one identity of the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda.synthesis.voice import DEFAULT_VOICE, VOICES

# (the voice is a woman's, the speaker is a woman) -> factor on pitch and formants
PITCH = {
    (False, False): (0.85, 1.00),
    (False, True): (1.06, 1.20),
    (True, True): (0.92, 1.10),
    (True, False): (0.78, 0.88),
}


@dataclass(frozen=True)
class Speaker:
    """An identity; everything about it follows from the corpus seed and its number.

    name: its folder. head: seed of its appearance. tempo: duration of speech relative to
    its voice's own. pitch: factor on the pitch and formants of ``voice``. gain: of the sound. noise: RMS of
    the room. articulation, liveliness: size of mouth and of head movements. blinks: a minute.
    """

    name: str
    head: int
    tempo: float
    pitch: float
    gain: float
    noise: float
    articulation: float
    liveliness: float
    blinks: float
    voice: str = DEFAULT_VOICE


def draw_speaker(seed: int, number: int, voices: Sequence[str] = (DEFAULT_VOICE,)) -> Speaker:
    """Speaker ``number`` of the corpus of ``seed``; its appearance is the head of that number.

    Heads alternate between women (even) and men (odd). Each takes a voice of ``voices`` (names in ``VOICES``)
    of its own kind in turn, or where there is none another one raised or lowered: that is a variant of a
    voice, not a voice more.
    """
    rng = np.random.default_rng([seed, number])
    woman = number % 2 == 0
    fitting = [voice for voice in voices if VOICES[voice] == woman] or list(voices)
    voice = fitting[number // 2 % len(fitting)]
    pitch_range = PITCH[VOICES[voice], woman]
    return Speaker(
        name=f"speaker_{number:03d}",
        head=number,
        tempo=round(rng.uniform(1.05, 1.30), 3),
        pitch=round(rng.uniform(*pitch_range), 3),
        gain=round(rng.uniform(0.6, 1.2), 3),
        noise=round(float(np.exp(rng.uniform(np.log(2e-4), np.log(1.5e-3)))), 6),
        articulation=round(rng.uniform(1.05, 1.35), 3),
        liveliness=round(rng.uniform(0.7, 1.3), 3),
        blinks=round(rng.uniform(10, 20), 1),
        voice=voice,
    )
