"""The portrait's crop: a square turned upright with the face, from landmarks; and what landmarks tell of eyes and lips.

The rules are LivePortrait's for its 203 landmarks. MediaPipe's 478 reach up to the hair line; of them only
those that the 203 have too (jaw, brows, and what lies between) count for the size of the face.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from moda.errors import UserError

SIZE, INPUT = 512, 256  # pixels: of a crop, and of what the networks see of it
SCALE, SHIFT = 2.3, -0.125  # side of the crop over that of the face; how far up, in sides

_JAW = (
    127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356,
)  # fmt: skip
_BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)


@dataclass(frozen=True)
class Markup:
    """Which landmarks of a set are which. left and right are those of the picture.

    left_eye, right_eye: landmarks whose mean is the eye's centre; lips: both corners of the mouth.
    outline: landmarks that span the face, None for all.
    eye_heights, eye_widths, lip_height: pairs that ratios are measured between, left eye first.
    """

    left_eye: tuple[int, ...]
    right_eye: tuple[int, ...]
    lips: tuple[int, int]
    outline: tuple[int, ...] | None = None
    eye_heights: tuple[tuple[int, int], ...] = ()
    eye_widths: tuple[tuple[int, int], ...] = ()
    lip_height: tuple[int, int] | None = None


MARKUPS = {
    68: Markup((36, 39), (42, 45), (48, 54)),
    106: Markup((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: Markup(
        (0, 6, 12, 18), (24, 30, 36, 42), (48, 66),
        eye_heights=((6, 18), (30, 42)), eye_widths=((0, 12), (24, 36)), lip_height=(90, 102),
    ),
    478: Markup(
        (33, 159, 133, 145), (362, 386, 263, 374), (61, 291), outline=_JAW + _BROWS,
        eye_heights=((159, 145), (386, 374)), eye_widths=((33, 133), (362, 263)), lip_height=(13, 14),
    ),
}  # fmt: skip
"""By the number of landmarks: iBUG's, InsightFace's, LivePortrait's, MediaPipe's."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut out of a picture. to_crop, to_picture: (3, 3) float64, pixels of one to pixels of the other."""

    to_crop: np.ndarray
    size: int = SIZE

    @property
    def to_picture(self) -> np.ndarray:
        return np.linalg.inv(self.to_crop)

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 to (size, size, 3); what lies outside the picture repeats its edge."""
        return cv2.warpAffine(
            picture, self.to_crop[:2], (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def face_crop(
    landmarks: np.ndarray, scale: float = SCALE, shift: float = SHIFT, rotate: bool = True, size: int = SIZE
) -> Crop:
    """The crop of a face from its landmarks (N, 2) in pixels, N a key of ``MARKUPS``.

    The box of the face is measured along the axis from the eyes to the mouth, and turned with it where
    ``rotate``; its longer side times ``scale`` is the crop's, moved by ``shift`` sides down that axis.
    """
    markup, points = _markup(landmarks), np.asarray(landmarks, np.float64)[:, :2]
    down = face_axis(points) if rotate else np.array([0.0, 1.0])
    axes = np.stack([(down[1], -down[0]), down])  # rows: to the right, and down the face
    outline = points if markup.outline is None else points[list(markup.outline)]
    along = outline @ axes.T
    low, high = along.min(0), along.max(0)
    side = float((high - low).max()) * scale
    if side <= 0:
        raise UserError("the landmarks of the face all lie in one place; use another picture")
    centre = (low + high) / 2 + np.array([0, shift * side])  # along the axes
    to_crop = np.eye(3)
    to_crop[:2, :2] = axes * (size / side)
    to_crop[:2, 2] = size / 2 - centre * (size / side)
    return Crop(to_crop, size)


def face_axis(landmarks: np.ndarray) -> np.ndarray:
    """(2,) unit vector from the middle of the eyes to that of the mouth; straight down where they coincide."""
    markup = _markup(landmarks)
    eyes = (landmarks[list(markup.left_eye), :2].mean(0) + landmarks[list(markup.right_eye), :2].mean(0)) / 2
    down = landmarks[list(markup.lips), :2].mean(0) - eyes
    length = np.linalg.norm(down)
    return down / length if length > 1e-3 else np.array([0.0, 1.0])


def shrink(crop: np.ndarray) -> np.ndarray:
    """A square uint8 RGB crop to what the networks see, (256, 256, 3)."""
    if len(crop) == INPUT:
        return crop
    return cv2.resize(crop, (INPUT, INPUT), interpolation=cv2.INTER_AREA if len(crop) > INPUT else cv2.INTER_CUBIC)


def eye_ratios(landmarks: np.ndarray) -> np.ndarray:
    """(2,) height over width of the left and right eye of the picture, from 203 or 478 landmarks."""
    markup = _markup(landmarks)
    pairs = zip(markup.eye_heights, markup.eye_widths, strict=True)
    return np.array([_ratio(landmarks, height, width) for height, width in pairs], np.float32)


def lip_ratio(landmarks: np.ndarray) -> float:
    """Height between the inner lips over the width of the mouth, from 203 or 478 landmarks."""
    markup = _markup(landmarks)
    assert markup.lip_height is not None
    return _ratio(landmarks, markup.lip_height, markup.lips)


def _ratio(landmarks: np.ndarray, height: tuple[int, int], width: tuple[int, int]) -> float:
    points = np.asarray(landmarks, np.float64)[:, :2]
    tall, wide = (np.linalg.norm(points[a] - points[b]) for a, b in (height, width))
    return float(tall / (wide + 1e-6))


def _markup(landmarks: np.ndarray) -> Markup:
    if len(landmarks) not in MARKUPS:
        known = ", ".join(map(str, MARKUPS))
        raise UserError(f"a face with {len(landmarks)} landmarks cannot be cropped; known sets have {known}")
    return MARKUPS[len(landmarks)]
