"""Scene cuts, met while frames go by: cost about 0.1 ms a frame of any size."""

from collections import deque

import cv2
import numpy as np

SIDE = 32  # pixels a frame is reduced to
CORRELATION = 0.3  # the fastest hand-held pans tried stay above 0.45 over a fifth of a second, cuts are around 0
SLOW = 5  # frames: a dissolve is a cut, too


class SceneCuts:
    """Frames at which another scene begins. ``add`` every frame in order."""

    def __init__(self) -> None:
        self._before: deque[np.ndarray] = deque(maxlen=SLOW)

    def add(self, frame: np.ndarray) -> bool:
        """Whether uint8 RGB ``frame`` (H, W, 3) shows another scene than the one before, or the one of a fifth of a
        second ago."""
        picture = overview(frame)
        cut = bool(self._before) and (is_cut(self._before[-1], picture) or is_cut(self._before[0], picture))
        if cut:
            self._before.clear()
        self._before.append(picture)
        return cut


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two small grey pictures show different scenes."""
    a, b = before - before.mean(), after - after.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return bool(scale > 0 and (a * b).sum() / scale < CORRELATION)


def overview(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to grey (32, 32) float32; of a large frame only some of the pixels are looked at."""
    step = max(1, min(frame.shape[:2]) // (4 * SIDE))
    small = cv2.resize(np.ascontiguousarray(frame[::step, ::step]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.mean(2, dtype=np.float32)
