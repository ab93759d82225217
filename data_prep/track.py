"""Following the faces of a video: where they are, a few times a second, at any size in the frame."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

FULL_SIDE = 960  # a whole frame is searched at this size; faces too small for it are found in tiles
MIN_IOU = 0.2  # of two boxes a fifth of a second apart that belong to one face
MAX_GAP = 0.6  # seconds that a face may be lost and still be followed
MIN_LOOKS = 3  # times a face must be seen to be told of; fewer are mostly false alarms
CUT_CORRELATION = 0.3  # of 32 x 32 pictures; the fastest hand-held pans tried stay above 0.45, cuts are around 0
TILE_SEARCH_EVERY = 1.0  # seconds between searches in tiles where no face is being followed

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


class Detection(Protocol):
    @property
    def box(self) -> Box: ...


class Detector(Protocol):
    """``moda.face.landmarker.FaceLandmarker`` is one."""

    def detect(self, rgb: np.ndarray) -> Iterable[Detection]: ...


@dataclass(eq=False)
class Track:
    """One face over time: its box at each sampled frame where it was found."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    def add(self, frame: int, box: Box) -> None:
        self.frames.append(frame)
        self.boxes.append(box)

    @property
    def weight(self) -> float:
        """Area times duration: what the largest face of a video is the largest in."""
        return sum(area(box) for box in self.boxes)

    def overlaps(self, other: "Track") -> bool:
        return self.frames[0] <= other.frames[-1] and other.frames[0] <= self.frames[-1]

    def boxes_between(self, start: int, stop: int) -> np.ndarray:
        """(n, 4) boxes at the sampled frames of [start, stop)."""
        inside = [box for frame, box in zip(self.frames, self.boxes, strict=True) if start <= frame < stop]
        return np.array(inside, np.float64).reshape(-1, 4)


def follow(frames: Iterable[tuple[int, np.ndarray]], detector: Detector, fps: float = 25.0) -> list[Track]:
    """Tracks of all faces in ``frames``, pairs of frame number and uint8 RGB image in rising order.

    A box continues the track whose last box overlaps it most; a jump begins a new one, and so does
    every face after a cut.
    """
    tracks: list[Track] = []
    tiles_searched, shot, before = -np.inf, 0, None
    for number, frame in frames:
        overview = _overview(frame)
        if before is not None and is_cut(before, overview):
            shot = len(tracks)  # the tracks up to here have ended
        before = overview
        live = [track for track in tracks[shot:] if number - track.frames[-1] <= MAX_GAP * fps]
        boxes = _search_whole(frame, detector)
        if not boxes and live:
            boxes = _search_around(frame, max(live, key=lambda track: area(track.boxes[-1])).boxes[-1], detector)
        if not boxes and not live and number - tiles_searched >= TILE_SEARCH_EVERY * fps:
            tiles_searched = number
            boxes = _search_tiles(frame, detector)
        for box in boxes:
            best = max(live, key=lambda track, box=box: iou(track.boxes[-1], box), default=None)
            if best is None or iou(best.boxes[-1], box) < MIN_IOU:
                best = Track()
                tracks.append(best)
            else:
                live.remove(best)  # one box a track and frame
            best.add(number, box)
    return tracks


def main_tracks(tracks: list[Track]) -> tuple[list[Track], int]:
    """The largest track at every time, in order, and how many faces were seen beside them.

    Tracks that do not overlap in time are different shots, and all are kept.
    """
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda track: track.weight, reverse=True):
        if not any(track.overlaps(other) for other in kept):
            kept.append(track)
    # the most faces in one frame beside the largest: a face that comes and goes counts once
    beside = Counter(
        frame for track in tracks if track not in kept and len(track.frames) >= MIN_LOOKS for frame in track.frames
    )
    return sorted(kept, key=lambda track: track.frames[0]), max(beside.values(), default=0)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two small grey pictures, a fifth of a second apart, show different scenes."""
    a, b = before - before.mean(), after - after.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return bool(scale > 0 and (a * b).sum() / scale < CUT_CORRELATION)


def _overview(frame: np.ndarray) -> np.ndarray:
    small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)
    return small.mean(2, dtype=np.float32)


def area(box: Box) -> float:
    """Area of a box, 0 for an empty one."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def _search_whole(frame: np.ndarray, detector: Detector) -> list[Box]:
    """Faces of a frame that is scaled down first: the detector itself looks at far fewer pixels."""
    scale = FULL_SIDE / max(frame.shape[:2])
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return _distinct([_box(face, min(scale, 1.0)) for face in detector.detect(frame)])


def _search_around(frame: np.ndarray, box: Box, detector: Detector) -> list[Box]:
    """The face near its last ``box``, enlarged."""
    side = round(3 * max(box[2] - box[0], box[3] - box[1]))
    return _search_square(
        frame, round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2), side, detector
    )


def _search_tiles(frame: np.ndarray, detector: Detector) -> list[Box]:
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


def _search_square(frame: np.ndarray, left: int, top: int, side: int, detector: Detector) -> list[Box]:
    left, top = max(left, 0), max(top, 0)
    part = frame[top : top + side, left : left + side]
    if min(part.shape[:2]) < 16:
        return []
    scale = 512 / max(part.shape[:2])
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return [
        (x0 + left, y0 + top, x1 + left, y1 + top)
        for x0, y0, x1, y1 in (_box(face, scale) for face in detector.detect(part))
    ]


def _box(face: Detection, scale: float) -> Box:
    x0, y0, x1, y1 = face.box
    return x0 / scale, y0 / scale, x1 / scale, y1 / scale


def _distinct(boxes: list[Box]) -> list[Box]:
    """Boxes, largest first, without the ones that lie on a larger one: two tiles see the same face."""
    kept: list[Box] = []
    for box in sorted(boxes, key=area, reverse=True):
        if all(iou(box, other) < 0.4 for other in kept):
            kept.append(box)
    return kept
