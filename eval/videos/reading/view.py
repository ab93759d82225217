"""What of a video is looked at: the same square for every row of a clip, or the whole frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cv2
import numpy as np

from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.ahead import ahead
from moda.eval.videos.reading.source import VideoSource
from moda.face.crop import CropBox, crop

BLOCK = 16  # frames handed on together


@dataclass(frozen=True)
class View:
    """A video under a protocol. box: of the reference's faces, None where frames are used whole.

    Square frames are face crops already, as a generator makes them from a portrait: they are brought
    to the protocol's size and not cropped again.
    """

    source: VideoSource
    protocol: Protocol
    box: CropBox | None = None

    @property
    def num_frames(self) -> int:
        return min(self.source.num_frames, self.protocol.max_frames)

    def identity(self) -> dict[str, Any]:
        """What decides its pixels, as JSON."""
        box = self.box and [self.box.left, self.box.top, self.box.side]
        size = self.protocol.size if self.protocol.crop == "face" else None
        return {"video": self.source.sha256, "box": box, "size": size, "frames": self.num_frames}

    def frames(self) -> Iterator[np.ndarray]:
        """Yield uint8 RGB: (size, size, 3), or whole frames (H, W, 3)."""
        return (self._seen(frame) for frame in islice(self.source.frames(), self.num_frames))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield uint8 RGB (B, H, W, 3), up to 16 frames at once, decoded ahead."""
        return ahead(self._blocks)

    def _blocks(self) -> Iterator[np.ndarray]:
        frames = self.frames()
        while block := list(islice(frames, BLOCK)):
            yield np.stack(block)

    def audio(self) -> np.ndarray:
        """(N,) int16 at 16 kHz, no longer than the frames."""
        return self.source.audio()[: self.num_frames * 16_000 // self.protocol.fps]

    def _seen(self, frame: np.ndarray) -> np.ndarray:
        if self.protocol.crop == "frame":
            return frame
        assert self.protocol.size is not None
        if self.box is not None:
            return crop(frame, self.box, self.protocol.size)
        return square(frame, self.protocol.size)


def is_square(size: tuple[int, int]) -> bool:
    """Whether (height, width) is a face crop already; odd sides may have lost a row or a column."""
    return abs(size[0] - size[1]) <= 2


def square(frame: np.ndarray, size: int) -> np.ndarray:
    """Bring a (nearly) square frame to (size, size, 3)."""
    side = frame.shape[0]
    if frame.shape[:2] == (size, size):
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)
