"""Long sound through a network that looks at all of its input: in windows that fade into each other."""

from collections.abc import Callable

import numpy as np

Encode = Callable[[int, int], np.ndarray]  # (first row, row after the last) to (rows, ...)


def in_windows(rows: int, window: int, overlap: int, encode: Encode) -> np.ndarray:
    """``encode`` of rows 0 to ``rows``, computed at most ``window`` rows at a time; (rows, ...) float32.

    Windows share at least ``overlap`` rows, over which one fades linearly into the next: a row beside the
    edge of a window, which has seen half of its surroundings, counts next to nothing. What fits one window
    is encoded whole.
    """
    if rows <= window:
        return encode(0, rows).astype(np.float32)
    starts = [*range(0, rows - window, window - overlap), rows - window]
    from_edge = np.minimum(np.arange(1, window + 1), np.arange(window, 0, -1))
    weight = np.minimum(1, from_edge / (overlap + 1)).astype(np.float32)
    weights = np.zeros(rows, np.float32)
    for start in starts:
        weights[start : start + window] += weight
    total: np.ndarray | None = None
    for start in starts:
        here = slice(start, start + window)
        part = encode(start, start + window)
        if total is None:
            total = np.zeros((rows, *part.shape[1:]), np.float32)
        total[here] += (weight / weights[here]).reshape(-1, *[1] * (part.ndim - 1)) * part
    assert total is not None
    return total
