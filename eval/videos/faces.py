"""What a face does in a video: motion, opening of the lips, landmarks of the lips, shape of the face.

Measured by MediaPipe through the head codec, on any method's frames alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from moda.codec.head.codec import HeadCodec, follow
from moda.eval.videos.extractor import Arrays
from moda.eval.videos.view import View
from moda.face.landmarker import Face, FaceLandmarker

VERSION = 1
EYES = (33, 263)  # outer corners: of the eye left in the image, and of the other
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip  # MediaPipe's outer ring, then its inner one


class _Listener:
    """A landmarker that keeps the lips of the face that the codec follows."""

    def __init__(self, landmarker: FaceLandmarker):
        self.landmarker = landmarker
        self.last: Face | None = None
        self.lips: list[np.ndarray] = []

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """The one face that is followed, or none."""
        face = follow(self.landmarker.detect(rgb), self.last)
        self.last = face or self.last
        self.lips.append(np.full((len(LIPS), 2), np.nan) if face is None else lips_of(face))
        return [] if face is None else [face]


class FaceExtractor:
    """{"motion": (T, 59), "found": (T,), "lips": (T,), "lip_landmarks": (T, 40, 2), "shape": (I,)}."""

    name = "faces"
    needs_sound = False

    @cached_property
    def codec(self) -> HeadCodec:
        return HeadCodec()

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        return FaceLandmarker()

    def identity(self) -> dict[str, Any]:
        return {"version": VERSION, "codec": self.codec.fingerprint}

    def begin(self, view: View) -> "_Faces":
        return _Faces(self, view)


@dataclass
class _Faces:
    """Decodes once more at the end: the codec follows one face through the whole clip."""

    extractor: FaceExtractor
    view: View

    def add(self, frames: np.ndarray) -> None:
        pass

    def finish(self) -> Arrays:
        codec, listener = self.extractor.codec, _Listener(self.extractor.landmarker)
        vars(codec)["landmarker"] = listener  # in place of its own
        clip = codec.encode(_squares(self.view))
        return {
            "motion": clip.motion,
            "found": clip.found,
            "lips": codec.lip_aperture(clip.motion).astype(np.float32),
            "lip_landmarks": np.stack(listener.lips).astype(np.float32),
            "shape": clip.identity,
        }


def _squares(view: View) -> Iterator[np.ndarray]:
    """Frames as they are where square, else in the middle of a grey square."""
    for frame in view.frames():
        height, width = frame.shape[:2]
        high, wide = max(width - height, 0), max(height - width, 0)
        yield cv2.copyMakeBorder(
            frame, high // 2, high - high // 2, wide // 2, wide - wide // 2, cv2.BORDER_CONSTANT, value=(110,) * 3
        ) if high or wide else frame  # fmt: skip


def lips_of(face: Face) -> np.ndarray:
    """(40, 2) landmarks of the lips from the middle of the eyes, along the eyes, in distances of their outer corners."""
    points = face.landmarks[:, :2].astype(np.float64)
    left, right = points[list(EYES)]
    along = (right - left) / max(float(np.linalg.norm(right - left)) ** 2, 1e-6)
    offset = points[list(LIPS)] - (left + right) / 2
    return np.stack([offset @ along, offset @ np.array([-along[1], along[0]])], 1)
