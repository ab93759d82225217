"""The frames of the clip that is being collected, so that the video need not be decoded again for its crop.

Only the surroundings of the face are kept, and no finer than the stored crop needs: at most about 2 MB a
frame at 512 pixels, whatever the size of the video.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from moda.data_prep.track import Box
from moda.face.crop import CropBox, crop

AROUND = 2.6  # side of what is kept, over the size of the face
CROP = 1.95  # side of a usual crop over the size of the face, at a margin of 1.6
FINER = 1.2  # pixels that are kept for one of the stored crop
WORTH = 0.75  # scale from which frames are kept as they are: scaling would cost more than it saves
LIMIT = 2**30  # bytes; beyond it a clip is decoded a second time


@dataclass(frozen=True)
class _Window:
    """What is kept of a frame: where it lies in the scaled frame, and the size of that."""

    number: int
    left: int
    top: int
    picture: np.ndarray
    frame_size: tuple[int, int]  # height, width


class HeldFrames:
    """``add`` frames while a face is followed; ``crops`` of a span; ``drop`` what is no longer needed.

    size: side of the stored crops. All frames since ``clear`` are scaled alike, by a factor that the first
    face decides, so that a crop does not tremble.
    """

    def __init__(self, size: int, margin: float):
        self.size, self.margin = size, margin
        self.scale = 1.0
        self._windows: deque[_Window] = deque()
        self._bytes = 0

    def add(self, number: int, frame: np.ndarray, face: Box) -> None:
        """Keep uint8 RGB ``frame`` around the box of a face in it."""
        face_size = max(face[2] - face[0], face[3] - face[1], 1.0)
        if not self._windows:
            scale = FINER * self.size / ((CROP - 1.6 + self.margin) * face_size)
            self.scale = scale if scale < WORTH else 1.0
        if self._bytes > LIMIT:
            return
        if self.scale < 1:
            frame = cv2.resize(frame, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
        height, width = frame.shape[:2]
        side = round(AROUND * face_size * self.scale * max(1.0, self.margin / 1.6))
        left = _into(self.scale * (face[0] + face[2]) / 2 - side / 2, side, width)
        top = _into(self.scale * (face[1] + face[3]) / 2 - side / 2, side, height)
        window = frame[top : top + side, left : left + side]
        if window.size > 0.7 * frame.size:
            left, top, window = 0, 0, frame
        elif window.size:
            window = window.copy()  # lets go of the rest of the frame
        self._windows.append(_Window(number, left, top, window, (height, width)))
        self._bytes += window.nbytes

    def drop(self, before: int) -> None:
        """Forget the frames before ``before``."""
        while self._windows and self._windows[0].number < before:
            self._bytes -= self._windows.popleft().picture.nbytes

    def clear(self) -> None:
        self._windows.clear()
        self._bytes = 0

    def picture(self, number: int) -> np.ndarray | None:
        """What was kept of a frame; None where it was not."""
        return next((window.picture for window in self._windows if window.number == number), None)

    def crops(self, span: range, box: CropBox, size: int) -> Iterator[np.ndarray] | None:
        """The crop ``box`` of each frame of ``span``, scaled to (size, size, 3); None where not all of it was kept."""
        windows = [window for window in self._windows if window.number in span]
        scaled = CropBox(*(round(self.scale * value) for value in (box.left, box.top, box.side)))
        if [window.number for window in windows] != list(span) or not all(_covers(w, scaled) for w in windows):
            return None
        return (crop(w.picture, CropBox(scaled.left - w.left, scaled.top - w.top, scaled.side), size) for w in windows)


def _into(start: float, side: int, length: int) -> int:
    """Start of a window, moved into (0, length) as the crop will be."""
    return max(min(round(start), length - side), 0)


def _covers(window: _Window, box: CropBox) -> bool:
    """Whether the window holds what of ``box`` lies in the frame."""
    (height, width), (rows, columns) = window.frame_size, window.picture.shape[:2]
    return (
        window.left <= max(box.left, 0)
        and window.top <= max(box.top, 0)
        and window.left + columns >= min(box.left + box.side, width)
        and window.top + rows >= min(box.top + box.side, height)
    )
