"""Cutting a video into clips: where the face is, at most so long, in equal parts."""

import itertools

import numpy as np


def split(start: int, stop: int, longest: int, shortest: int) -> list[tuple[int, int]]:
    """Cut frames [start, stop) into as few pieces of at most ``longest`` frames as possible.

    The pieces follow each other without a gap and differ in length by at most one frame, so that no
    scrap is left at the end. A stretch shorter than ``shortest`` gives none.
    """
    if not 0 < shortest <= longest:
        raise ValueError(f"clips of {shortest} to {longest} frames")
    if stop - start < shortest:
        return []
    count = -(-(stop - start) // longest)
    edges = np.linspace(start, stop, count + 1).round().astype(int).tolist()
    return [(a, b) for a, b in itertools.pairwise(edges) if b - a >= shortest]
