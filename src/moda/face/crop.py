"""The fixed square crop of a clip, from all of its face boxes.

A crop that followed the face would swallow the head's own motion, so one box serves a whole clip.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# The landmarks end at the hair line and at the chin: this part of the face's size is added above,
# so that the head, not the face, is centred.
HAIR = 0.25
TIGHT = 1.1  # the margin that is never given up


@dataclass(frozen=True)
class CropBox:
    """A square in pixels of the frame: its left and top edge and its side; may reach over the frame."""

    left: int
    top: int
    side: int

    @property
    def centre_and_side(self) -> tuple[float, float, float]:
        """(centre x, centre y, side), as ClipRecord keeps it."""
        return self.left + self.side / 2, self.top + self.side / 2, float(self.side)


def crop_box(boxes: np.ndarray, frame_size: tuple[int, int], margin: float = 1.6) -> CropBox:
    """The square that holds every face box of a clip.

    boxes: (n, 4) landmark boxes x0, y0, x1, y1 in pixels; frame_size: (height, width).
    margin: side of the crop over the size of a face that does not move; motion adds to it what it
    covers. The square is moved into the frame as far as that goes, and in a frame that is tight
    around the face the margin gives way (to ``TIGHT``) before the square reaches over the frame.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if margin < 1:
        raise ValueError(f"margin {margin} would cut the face")
    face = np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    low[1] -= HAIR * face
    height, width = frame_size
    extent = float((high - low).max())
    side = round(max(min(extent + (margin - 1) * face, height, width), extent + (min(margin, TIGHT) - 1) * face))
    left, top = np.round((low + high - side) / 2)
    return CropBox(_into(left, side, width), _into(top, side, height), side)


def _into(start: float, side: int, length: int) -> int:
    """Start of an interval of ``side``, moved to lie inside (0, length) or, if longer, around it."""
    low, high = sorted((0, length - side))
    return int(min(max(start, low), high))


def crop(frame: np.ndarray, box: CropBox, size: int) -> np.ndarray:
    """Cut ``box`` out of an RGB frame (H, W, 3) and scale it to (size, size, 3).

    What lies outside the frame repeats its edge.
    """
    height, width = frame.shape[:2]
    right, bottom = box.left + box.side, box.top + box.side
    x0, y0, x1, y1 = max(box.left, 0), max(box.top, 0), min(right, width), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"{box} does not touch a frame of {width} x {height}")
    cut = frame[y0:y1, x0:x1]
    if cut.shape[:2] != (box.side, box.side):
        cut = cv2.copyMakeBorder(
            cut, y0 - box.top, bottom - y1, x0 - box.left, right - x1, borderType=cv2.BORDER_REPLICATE
        )
    if box.side == size:
        return np.ascontiguousarray(cut)
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if size < box.side else cv2.INTER_CUBIC)
