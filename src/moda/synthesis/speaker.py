"""Who speaks: the voice, manner and appearance of one identity of the corpus."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Speaker:
    """An identity; everything about it follows from the corpus seed and its number.

    name: its folder. head: seed of its appearance. tempo: duration of speech relative to
    the packaged voice. pitch: factor on its pitch and formants. gain: of the sound. noise: RMS of
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


def draw_speaker(seed: int, number: int) -> Speaker:
    """Speaker ``number`` of the corpus of ``seed``; its appearance is the head of that number.

    Heads alternate between women (even) and men (odd), and so do the voices.
    """
    rng = np.random.default_rng([seed, number])
    pitch_range = (1.06, 1.20) if number % 2 == 0 else (0.85, 1.00)
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
    )
