"""Following the faces of a video: where they are, a few times a second, at any size in the frame.

Cost: one search of the detector (about 15 ms) for each look, several where no face is in sight.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

FULL_SIDE = 960  # a whole frame is searched at this size; faces too small for it are found in tiles
MIN_IOU = 0.2  # of two boxes a fifth of a second apart that belong to one face
MAX_GAP = 0.6  # seconds that a face may be lost and still be followed
TILE_SEARCH_EVERY = 1.0  # seconds between searches in tiles where no face is being followed

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


class Detection(Protocol):
    """A face as a detector gives it; ``landmarks`` (N, 3), where it has them, in pixels of the picture."""

    @property
    def box(self) -> Box: ...


class Detector(Protocol):
    """``moda.face.landmarker.FaceLandmarker`` is one."""

    def detect(self, rgb: np.ndarray) -> Iterable[Detection]: ...


@dataclass(frozen=True, eq=False)
class Seen:
    """One face in one frame: box and landmarks (N, 2), if the detector gives any, in pixels of the frame."""

    box: Box
    landmarks: np.ndarray | None = None

    @property
    def size(self) -> float:
        """Longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(eq=False)
class Track:
    """One face over time: what was seen of it at each sampled frame where it was found."""

    frames: list[int] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def add(self, frame: int, seen: Seen) -> None:
        self.frames.append(frame)
        self.seen.append(seen)

    @property
    def last(self) -> Seen:
        return self.seen[-1]


class Follower:
    """Tracks of all faces, from looks at frames in rising order.

    A box continues the track whose last box overlaps it most; a jump begins a new one, and so does
    every face after a cut. The detector looks anew each time, so that nothing drifts.
    """

    def __init__(self, detector: Detector, fps: float = 25.0):
        self.detector, self.fps = detector, fps
        self._live: list[Track] = []
        self._tiles_searched = -np.inf

    def cut(self) -> None:
        """Another scene begins: all tracks have ended."""
        self._live = []

    def look(self, number: int, frame: np.ndarray) -> list[Track]:
        """Search uint8 RGB ``frame``; returns the tracks that are being followed, some of them not seen just now."""
        live = self._live = [track for track in self._live if number - track.frames[-1] <= MAX_GAP * self.fps]
        found = _search_whole(frame, self.detector)
        if not found and live:
            found = _search_around(frame, max(live, key=lambda track: track.last.size).last.box, self.detector)
        if not found and not live and number - self._tiles_searched >= TILE_SEARCH_EVERY * self.fps:
            self._tiles_searched = number
            found = _search_tiles(frame, self.detector)
        free = list(live)
        for seen in found:
            best = max(free, key=lambda track, seen=seen: iou(track.last.box, seen.box), default=None)
            if best is None or iou(best.last.box, seen.box) < MIN_IOU:
                best = Track()
                self._live.append(best)
            else:
                free.remove(best)  # one box a track and frame
            best.add(number, seen)
        return list(self._live)


def area(box: Box) -> float:
    """Area of a box, 0 for an empty one."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def _search_whole(frame: np.ndarray, detector: Detector) -> list[Seen]:
    """Faces of a frame that is scaled down first: the detector itself looks at far fewer pixels."""
    scale = FULL_SIDE / max(frame.shape[:2])
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return _distinct([_seen(face, min(scale, 1.0)) for face in detector.detect(frame)])


def _search_around(frame: np.ndarray, box: Box, detector: Detector) -> list[Seen]:
    """The face near its last ``box``, enlarged."""
    side = round(3 * max(box[2] - box[0], box[3] - box[1]))
    return _search_square(
        frame, round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2), side, detector
    )


def _search_tiles(frame: np.ndarray, detector: Detector) -> list[Seen]:
    """Faces in overlapping squares, at first as high as the frame, then half as high."""
    short = min(frame.shape[:2])
    for side in (short, short // 2):
        found = [box for left, top in _tiles(frame, side) for box in _search_square(frame, left, top, side, detector)]
        if found:
            return _distinct(found)
    return []


def _tiles(frame: np.ndarray, side: int) -> Iterator[tuple[int, int]]:
    height, width = frame.shape[:2]
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield left, top


def _starts(length: int, side: int) -> list[int]:
    """Starts of intervals of ``side`` that cover ``length`` and overlap by at least a third."""
    count = 1 + int(np.ceil((length - side) / (side * 2 / 3)))
    return [round(start) for start in np.linspace(0, length - side, count)]


def _search_square(frame: np.ndarray, left: int, top: int, side: int, detector: Detector) -> list[Seen]:
    left, top = max(left, 0), max(top, 0)
    part = frame[top : top + side, left : left + side]
    if min(part.shape[:2]) < 16:
        return []
    scale = 512 / max(part.shape[:2])
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return [_seen(face, scale, left, top) for face in detector.detect(part)]


def _seen(face: Detection, scale: float, left: float = 0, top: float = 0) -> Seen:
    """A face found in a part of the frame that begins at (left, top) and was scaled by ``scale``."""
    offset = np.array([left, top])
    x0, y0, x1, y1 = (np.array(face.box, np.float64).reshape(2, 2) / scale + offset).ravel().tolist()
    points = getattr(face, "landmarks", None)
    return Seen((x0, y0, x1, y1), None if points is None else points[:, :2] / scale + offset)


def _distinct(found: list[Seen]) -> list[Seen]:
    """Faces, largest first, without the ones that lie on a larger one: two tiles see the same face."""
    kept: list[Seen] = []
    for seen in sorted(found, key=lambda seen: area(seen.box), reverse=True):
        if all(iou(seen.box, other.box) < 0.4 for other in kept):
            kept.append(seen)
    return kept
