"""How much the camera moves: cost about 1 ms a look."""

import cv2
import numpy as np

from moda.data_prep.track import Box

SIDE = 128  # pixels of the longer side in which shifts are measured
FACE = 1.7  # times the box that does not count as background
LEAST = 0.15  # part of the frame that must be background
SURE = 0.05  # response of the phase correlation below which nothing can be said


class CameraMotion:
    """Shifts of the background from one look to the next; ``add`` looks in order, ``reset`` at a cut."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def reset(self) -> None:
        self._before = None

    def add(self, frame: np.ndarray, face: Box) -> float:
        """Shift of what lies around the face since the last look, in sizes of the face; NaN where nothing tells."""
        scale = SIDE / max(frame.shape[:2])
        grey = cv2.resize(
            cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        picture, background = grey.astype(np.float32), np.ones(grey.shape, bool)
        x, y = scale * (face[0] + face[2]) / 2, scale * (face[1] + face[3]) / 2
        half = FACE / 2 * scale * max(face[2] - face[0], face[3] - face[1])
        background[max(int(y - half), 0) :, max(int(x - half), 0) : int(x + half) + 1] = False  # and the body below it
        if background.mean() < LEAST or picture[background].std() < 2:
            self._before = None
            return float("nan")
        picture = np.where(background, picture - picture[background].mean(), 0).astype(np.float32)
        before, self._before = self._before, picture
        if before is None or before.shape != picture.shape:
            return float("nan")
        both = (before != 0) & (picture != 0)
        (dx, dy), response = cv2.phaseCorrelate(np.where(both, before, 0), np.where(both, picture, 0))
        return float(np.hypot(dx, dy) / (2 * half / FACE)) if response > SURE else float("nan")
