"""Where faces are: BlazeFace (Bazarevsky et al., 2019), the short-range detector in MediaPipe's face landmarker.

Cost: about 1 ms an image of any size. The numbers are those of MediaPipe's graph ``face_detector_graph.cc`` (Apache-2.0).
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from moda.face.lite import LiteNetwork

SIDE = 128
GRIDS = ((16, 2), (8, 6))  # cells along a side, boxes a cell
EYES = (0, 1)  # of the six key points: the two that are level on an upright face
LARGER = 1.5  # side of the square that landmarks are sought in, over the side of the box
OVERLAP = 0.5  # intersection over union from which two boxes are one face


@dataclass(frozen=True)
class Region:
    """A square that stands upright on a face: centre and side in pixels, angle in radians, positive clockwise."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, low: np.ndarray, high: np.ndarray, left: np.ndarray, right: np.ndarray) -> Self:
        """About the box from ``low`` to ``high`` (x, y), turned so that ``left`` to ``right`` is level."""
        x, y = (low + high) / 2
        dx, dy = right - left
        return cls(float(x), float(y), LARGER * float((high - low).max()), float(np.arctan2(dy, dx)))

    def matrix(self, size: int) -> np.ndarray:
        """(2, 3) that takes pixels of the region, scaled to (size, size), to those of the image."""
        scale = self.side / size
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ (size / 2, size / 2)])

    def cut(self, image: np.ndarray, size: int, border: int) -> np.ndarray:
        """(size, size, 3) uint8 of an RGB image; border: what OpenCV puts beyond its edge."""
        return cv2.warpAffine(
            image, self.matrix(size), (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
        )


class BlazeFace:
    """Finds faces of at least about a tenth of the image's longer side."""

    def __init__(self, model: bytes, min_confidence: float = 0.5):
        self._network = LiteNetwork(model)
        self._least = float(np.log(min_confidence / (1 - min_confidence)))
        self._anchors = anchors()

    def __call__(self, image: np.ndarray, limit: int) -> list[Region]:
        """Regions of at most ``limit`` faces in a uint8 RGB image (H, W, 3), the surest first."""
        height, width = image.shape[:2]
        whole = Region(width / 2, height / 2, max(height, width))
        square = self._network.input[0]
        np.divide(whole.cut(image, SIDE, cv2.BORDER_CONSTANT), np.float32(127.5), out=square)
        square -= 1
        values, logits = self._network()
        logits = logits[0, :, 0]  # (896,)
        sure = np.flatnonzero(logits >= self._least)
        if not len(sure):
            return []
        found = decode(values[0, sure], self._anchors[sure])  # (n, 8, 2) in sides of the square
        matrix = whole.matrix(1)
        merged = merge(found, 1 / (1 + np.exp(-logits[sure])))[:limit] @ matrix[:, :2].T + matrix[:, 2]
        return [Region.around(points[0], points[1], *points[2:][list(EYES)]) for points in merged]


def anchors() -> np.ndarray:
    """(896, 2) centres x, y of the cells, once for each of their boxes, in sides of the square."""
    centres = []
    for cells, boxes in GRIDS:
        y, x = np.mgrid[:cells, :cells]
        grid = np.stack([x, y], -1).reshape(-1, 2)
        centres.append(np.repeat((grid + 0.5) / cells, boxes, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Rows (n, 16) of the network at anchors (n, 2) to points (n, 8, 2): corners of the box, then six key points."""
    points = values.reshape(-1, 8, 2) / SIDE  # centre relative to the anchor, size, key points relative to it
    middle, size = points[:, 0] + centres, points[:, 1]
    return np.concatenate(
        [(middle - size / 2)[:, None], (middle + size / 2)[:, None], points[:, 2:] + centres[:, None]], axis=1
    )


def merge(found: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Points (n, 8, 2) of boxes that overlap become one, their mean weighted by the scores (n,); surest first."""
    rest = np.argsort(-scores, kind="stable")
    merged = []
    while len(rest):
        same = _overlaps(found[rest[0]], found[rest]) > OVERLAP
        same[0] = True
        merged.append(np.average(found[rest[same]], axis=0, weights=scores[rest[same]]))
        rest = rest[~same]
    return np.stack(merged)


def _overlaps(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (n,) of the boxes of points (8, 2) and (n, 8, 2)."""
    shared = np.minimum(one[1], others[:, 1]) - np.maximum(one[0], others[:, 0])
    intersection = np.clip(shared, 0, None).prod(1)
    union = (one[1] - one[0]).prod() + (others[:, 1] - others[:, 0]).prod(1) - intersection
    return intersection / np.maximum(union, 1e-12)
