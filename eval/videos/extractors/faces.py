"""What a face does in a video: motion, opening of the lips, landmarks of the lips, shape of the face.

Measured by MediaPipe through the head codec, on any method's frames alike.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from moda.codec.head.codec import HeadCodec
from moda.codec.head.reading import Reading
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.reading.view import View
from moda.face.landmarker import Face

VERSION = 1
EYES = (33, 263)  # outer corners: of the eye left in the image, and of the other
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip  # MediaPipe's outer ring, then its inner one


class FaceExtractor:
    """{"motion": (T, 59), "found": (T,), "lips": (T,), "lip_landmarks": (T, 40, 2), "shape": (I,)}."""

    name = "faces"
    needs_sound = False

    @cached_property
    def codec(self) -> HeadCodec:
        return HeadCodec()

    def identity(self) -> dict[str, Any]:
        return {"version": VERSION, "codec": self.codec.fingerprint}

    def begin(self, view: View) -> "_Faces":
        return _Faces(self.codec, self.codec.reading())


@dataclass
class _Faces:
    """The codec follows one face through the whole clip; its lips are kept beside what the codec measures."""

    codec: HeadCodec
    reading: Reading
    lips: list[np.ndarray] = field(default_factory=list)

    def add(self, frames: np.ndarray) -> None:
        for frame in frames:
            face = self.reading.add(_square(frame))
            self.lips.append(np.full((len(LIPS), 2), np.nan) if face is None else lips_of(face))

    def finish(self) -> Arrays:
        clip = self.reading.finish()
        return {
            "motion": clip.motion,
            "found": clip.found,
            "lips": self.codec.lip_aperture(clip.motion).astype(np.float32),
            "lip_landmarks": np.stack(self.lips).astype(np.float32),
            "shape": clip.identity,
        }


def _square(frame: np.ndarray) -> np.ndarray:
    """The frame as it is where square, else in the middle of a grey square."""
    height, width = frame.shape[:2]
    high, wide = max(width - height, 0), max(height - width, 0)
    if not (high or wide):
        return frame
    edges = (high // 2, high - high // 2, wide // 2, wide - wide // 2)
    return cv2.copyMakeBorder(frame, *edges, cv2.BORDER_CONSTANT, value=(110,) * 3)


def lips_of(face: Face) -> np.ndarray:
    """(40, 2) landmarks of the lips from the middle of the eyes, along the eyes, in distances of their outer corners."""
    points = face.landmarks[:, :2].astype(np.float64)
    left, right = points[list(EYES)]
    along = (right - left) / max(float(np.linalg.norm(right - left)) ** 2, 1e-6)
    offset = points[list(LIPS)] - (left + right) / 2
    return np.stack([offset @ along, offset @ np.array([-along[1], along[0]])], 1)
