"""The mathematics of implicit keypoints: heads of the network to motion, motion to keypoints. NumPy only.

Coordinates are those of the volume: the crop spans -1 to 1, +x right, +y down, +z inward.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moda.motion.layout import get_layout
from moda.motion.rotation import rotation_matrix

KEYPOINTS = 21
BINS, BIN_DEGREES, FIRST_BIN = 66, 3.0, -97.5
LAYOUT = get_layout("liveportrait70")
ANGLES = ("pitch", "yaw", "roll")


@dataclass(frozen=True, eq=False)
class FaceMotion:
    """Motion of T frames in its parts.

    expression: (T, 21, 3) offsets of the keypoints; scale: (T, 1); translation: (T, 3), of which z is not
    used; rotation: (T, 3, 3) for row vectors.
    """

    expression: np.ndarray
    scale: np.ndarray
    translation: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, motion: np.ndarray) -> "FaceMotion":
        """The parts of vectors (T, 70) in layout liveportrait70."""
        expression, scale, translation, angles = (
            motion[:, LAYOUT.groups[name]] for name in ("expression", "scale", "translation", "rotation")
        )
        return cls(expression.reshape(-1, KEYPOINTS, 3), scale, translation, rotation_matrix(angles))

    def place(self, canonical: np.ndarray) -> np.ndarray:
        """Canonical keypoints (21, 3) or (T, 21, 3) to where the motion puts them, (T, 21, 3)."""
        return transform(canonical, self.rotation, self.expression, self.scale, self.translation)


def transform(
    canonical: np.ndarray, rotation: np.ndarray, expression: np.ndarray, scale: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """x = s (x_c R + delta) + t, with x and y of t only: (T, 21, 3) from the parts of ``FaceMotion``."""
    shift = translation * np.array([1, 1, 0], translation.dtype)
    return scale[:, None] * (canonical @ rotation + expression) + shift[:, None]


def pose_degrees(logits: np.ndarray) -> np.ndarray:
    """Logits of the pose bins (..., 66) to degrees (...), the expectation over bins 3 degrees apart from -97.5."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    share = weights / weights.sum(-1, keepdims=True)
    return (share @ np.arange(BINS)) * BIN_DEGREES + FIRST_BIN


def motion_of(heads: Mapping[str, np.ndarray]) -> np.ndarray:
    """Raw heads of T frames, each (T, width), to motion (T, 70) float32; z of the translation is 0."""
    motion = np.zeros((len(heads["exp"]), LAYOUT.dim), np.float32)
    motion[:, LAYOUT.groups["expression"]] = heads["exp"]
    motion[:, LAYOUT.groups["scale"]] = heads["scale"]
    motion[:, LAYOUT.groups["translation"]] = heads["t"] * np.array([1, 1, 0])
    motion[:, LAYOUT.groups["rotation"]] = np.stack([pose_degrees(heads[name]) for name in ANGLES], -1)
    return motion


# Between the lips: the lower lip is keypoint 19, the upper one 17. On recorded motion of five people the
# difference of their heights comes to rest at CLOSED when the mouth does, and reaches 0.08 in a shout.
_LOWER, _UPPER = LAYOUT.index("expression19Y"), LAYOUT.index("expression17Y")
CLOSED = -0.018
MOUTH_WIDTH = 0.24  # between the corners at rest, in the same units: 0.30 half widths of the crop by MediaPipe, at the mean scale 1.29


def lip_aperture(motion: np.ndarray) -> np.ndarray:
    """(..., 70) motion to (...): height between the lips over the width of the mouth at rest, >= 0.

    A measure for comparing curves: keypoints are not landmarks, and a face whose canonical mouth is not quite
    closed is off by as much.
    """
    return np.maximum(motion[..., _LOWER] - motion[..., _UPPER] - CLOSED, 0) / MOUTH_WIDTH
