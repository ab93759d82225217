"""Whose sound drives whom in the mismatched-audio row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

# What a pairing should avoid, most important first; a random cost in [0, 1) breaks the ties.
ITSELF = 1e9
SAME_PAIR_AGAIN = 1e6
SAME_TEXT = 1e3  # same file name under another speaker: corpora number their sentences so
SAME_SPEAKER = 10.0
SHORTER = 5.0  # times the share of the clip that the other's sound does not cover


@dataclass(frozen=True)
class Voice:
    """What a pairing goes by. source: the file the sound is from, as "speaker/text.mp4"; num_frames: its length."""

    speaker: str
    source: str
    num_frames: int


def derangements(voices: Sequence[Voice], count: int, seed: int) -> list[list[int]]:
    """``count`` permutations of the clips without a fixed point, as far as possible without a common pair.

    Element i of one is the clip whose sound clip i is given: of another speaker, another text and at
    least as long where the clips allow it (an assignment of least cost), at random otherwise. Fewer are
    returned when every pair has been used; none for a single clip.
    """
    if len(voices) < 2:
        return []
    rng = np.random.default_rng(seed)
    cost = np.array([[_cost(a, b) for b in voices] for a in voices])
    np.fill_diagonal(cost, ITSELF)
    found = []
    for _ in range(count):
        receivers, givers = linear_sum_assignment(cost + rng.random(cost.shape))
        if found and (cost[receivers, givers] >= SAME_PAIR_AGAIN).all():
            break
        found.append(givers.tolist())
        cost[receivers, givers] += SAME_PAIR_AGAIN
    return found


def _cost(receiver: Voice, giver: Voice) -> float:
    return (
        SAME_TEXT * (_stem(receiver.source) == _stem(giver.source) and receiver.source != giver.source)
        + SAME_SPEAKER * (receiver.speaker == giver.speaker)
        + SHORTER * max(0.0, 1 - giver.num_frames / receiver.num_frames)
    )


def _stem(source: str) -> str:
    return source.rpartition("/")[2].rpartition(".")[0]
