"""Who is in the picture, from where to where: the tracks of the original sync pipeline.

A track never spans a cut; detections of neighbouring frames belong together where they overlap by more
than half; up to 25 frames may be missed and are interpolated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

OVERLAP = 0.5  # intersection over union
MISSED = 25  # frames that a face may be away
CUT = 27.0  # mean change of hue, saturation and value from one frame to the next (PySceneDetect's default)
OVERVIEW = 256  # pixels a frame is reduced to before it is compared


@dataclass(frozen=True)
class Track:
    """start: its first frame. boxes: (T, 4) x0, y0, x1, y1, one for each frame. detections: how many were found."""

    start: int
    boxes: np.ndarray
    detections: int

    @property
    def stop(self) -> int:
        return self.start + len(self.boxes)


class SceneCuts:
    """Frames at which a new scene begins, met one after the other.

    A cut is where the mean absolute difference of hue, saturation and value, averaged over the three,
    exceeds 27, as in PySceneDetect's content detector.
    """

    def __init__(self) -> None:
        self.starts = [0]
        self._count, self._last = 0, np.empty(0)

    def add(self, rgb: np.ndarray) -> None:
        """One uint8 RGB frame (H, W, 3)."""
        factor = max(1, max(rgb.shape[:2]) // OVERVIEW)
        small = cv2.resize(rgb, (rgb.shape[1] // factor, rgb.shape[0] // factor), interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.int16)
        if self._count and hsv.shape == self._last.shape and np.abs(hsv - self._last).mean() > CUT:
            self.starts.append(self._count)
        self._last, self._count = hsv, self._count + 1

    def scenes(self) -> list[range]:
        return [range(a, b) for a, b in zip(self.starts, [*self.starts[1:], self._count], strict=True)]


def find_tracks(
    detections: Sequence[np.ndarray], scenes: Iterable[range], min_track: int, min_face: float = 0.0
) -> list[Track]:
    """Tracks of more than ``min_track`` detections whose mean box is more than ``min_face`` pixels wide or high.

    detections: boxes (n, 4) of each frame, best first.
    """
    found = []
    for scene in scenes:
        left = {frame: list(np.asarray(detections[frame], np.float64).reshape(-1, 4)) for frame in scene}
        while track := _next_track(left, min_track):
            boxes = track.boxes
            sides = (boxes[:, 2:] - boxes[:, :2]).mean(0)
            if sides.max() > min_face:
                found.append(track)
    return found


def _next_track(left: dict[int, list[np.ndarray]], min_track: int) -> Track | None:
    """Take the next track out of the boxes that are ``left``; None when there is none that is long enough."""
    while True:
        times: list[int] = []
        boxes: list[np.ndarray] = []
        for frame, candidates in left.items():
            if not boxes and candidates:
                times.append(frame)
                boxes.append(candidates.pop(0))
            elif boxes and frame - times[-1] > MISSED:
                break
            elif boxes:
                overlapping = [i for i, box in enumerate(candidates) if _overlap(box, boxes[-1]) > OVERLAP]
                if overlapping:
                    times.append(frame)
                    boxes.append(candidates.pop(overlapping[0]))
        if not boxes:
            return None
        if len(boxes) > min_track:
            every = np.arange(times[0], times[-1] + 1)
            filled = np.stack([np.interp(every, times, side) for side in np.array(boxes).T], 1)
            return Track(times[0], filled, len(boxes))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared + 1e-9))
