"""A clip measured frame by frame: one face is followed, and what a frame hides is filled in at the end."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from moda.codec.base import EncodedClip
from moda.codec.head.correspondence import image_points
from moda.codec.head.pitch import pitch_offset
from moda.codec.head.pose import identity_vector, unpose
from moda.face.follow import fill_gaps, follow, require_found
from moda.face.landmarker import Face
from moda.motion.layout import get_layout

_PITCH = get_layout("head59").index("pitch")


class Landmarker(Protocol):
    """``moda.face.landmarker.FaceLandmarker`` is one."""

    def detect(self, rgb: np.ndarray) -> list[Face]: ...


class Reading:
    """``HeadCodec.encode`` for frames that come one by one.

    motion_of: a face, its landmarks (478, 3) in the image and the same unposed, to its motion (D,).
    """

    def __init__(self, landmarker: Landmarker, motion_of: Callable[[Face, np.ndarray, np.ndarray], np.ndarray]):
        self.landmarker, self.motion_of = landmarker, motion_of
        self._rows: list[np.ndarray] = []
        self._unposed: list[np.ndarray] = []
        self._found: list[bool] = []
        self._last: Face | None = None

    def add(self, frame: np.ndarray) -> Face | None:
        """Measure a square uint8 RGB frame (S, S, 3); returns the face that is followed, None where it is not found."""
        face = follow(self.landmarker.detect(frame), self._last)
        self._found.append(face is not None)
        if face is not None:
            self._last = face
            points = image_points(face, frame.shape[1])
            self._unposed.append(unpose(points))
            self._rows.append(self.motion_of(face, points, self._unposed[-1]))
        return face

    def finish(self) -> EncodedClip:
        """Raises UserError for an empty clip or when fewer than half of the frames show a face."""
        seen = require_found(self._found)
        unposed = np.stack(self._unposed)
        motion = fill_gaps(np.stack(self._rows), seen)
        motion[:, _PITCH] -= pitch_offset(unposed.mean(0))
        return EncodedClip(motion, identity_vector(np.median(unposed, axis=0)), seen)
