"""A clip measured frame by frame: one face is followed, and what a frame hides is filled in at the end."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from moda.codec.base import EncodedClip
from moda.codec.head.correspondence import image_points
from moda.codec.head.pose import identity_vector, unpose
from moda.errors import UserError
from moda.face.landmarker import Face

MIN_FOUND = 0.5  # share of frames that must show a face


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
        seen = np.array(self._found, bool)
        if not self._rows or seen.mean() < MIN_FOUND:
            raise UserError(
                f"a face was found in {len(self._rows)} of {len(seen)} frames; use a clip whose face is in view, "
                "larger than a tenth of the frame and less than about 60 degrees turned away"
            )
        identity = identity_vector(np.median(np.stack(self._unposed), axis=0))
        return EncodedClip(_interpolate(np.stack(self._rows), seen), identity, seen)


def follow(faces: Sequence[Face], last: Face | None) -> Face | None:
    """Of several faces the one nearest to the last one, at first the first; None where there is none."""
    if not faces or last is None:
        return faces[0] if faces else None
    centre = last.landmarks[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - centre)))


def _interpolate(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Fill frames without a face linearly in time: (F, D) rows of the found frames to (T, D)."""
    at, everywhere = np.flatnonzero(found), np.arange(len(found))
    return np.stack([np.interp(everywhere, at, column) for column in rows.T], 1).astype(np.float32)
