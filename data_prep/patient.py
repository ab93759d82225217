"""Frames through PyAV, in order up to the damage: of all frames faster than decord, of a few in the middle slower."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from moda.data_prep.decode import ROUNDING
from moda.errors import UserError
from moda.media import open_media


class PatientReader:
    """The same as ``FrameReader``, for whole videos, damaged ones, and sound ones that decord 3.4 fails on.

    Reads one frame after the other without looking ahead, so that every frame before the first
    damaged packet is there, each time the same. ``num_frames`` becomes smaller when it gets there.
    Close it: its decoder goes later otherwise, at a time that nobody chooses.
    """

    def __init__(self, path: Path, fps: float = 25.0):
        self.path, self.fps = path, fps
        self._container = None
        self._to_rgb = VideoReformatter()  # kept, as FFmpeg's tables take longer to make than a frame to convert
        try:
            seconds, count = self._survey()
            self._rewind()
        except (FFmpegError, ValueError) as error:
            raise UserError("its video stream cannot be decoded") from error
        if self._next is None:
            raise UserError("its video stream is corrupt from the beginning on")
        self.height, self.width = self._upright(self._next[1]).shape[:2]
        self.num_frames = int(np.floor(seconds * fps + 0.5))
        self.source_fps = count / seconds

    def frames(
        self, wanted: range, prepare: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (t, prepare(frame)) for each t of ``wanted``; see ``FrameReader.frames``."""
        shown, prepared = None, None
        last = wanted.start - 1
        for t in wanted:
            middle = (t + 0.5) / self.fps + ROUNDING
            if t >= self.num_frames or not self._advance(middle):
                self.num_frames = min(self.num_frames, last + 1)
                return
            assert self._current is not None
            if prepared is None or shown is not self._current[1]:
                shown = self._current[1]
                prepared = prepare(self._upright(shown))
            last = t
            yield t, prepared

    def _survey(self) -> tuple[float, int]:
        """Length in seconds and number of frames, from the packets alone."""
        with open_media(self.path) as container:
            stream = container.streams.video[0]
            base = float(stream.time_base or 0)
            self._start = float((stream.start_time or 0) * base)
            ends = [
                ((packet.pts if packet.pts is not None else packet.dts) + (packet.duration or 0)) * base
                for packet in container.demux(stream)
                if packet.dts is not None
            ]
            self._interval = 1 / float(stream.average_rate or self.fps)
        if not ends or max(ends) <= self._start:
            raise UserError("its video stream holds no frame")
        return max(ends) - self._start, len(ends)

    def close(self) -> None:
        if self._container is not None:
            self._pending.close()
            self._container.close()

    def _rewind(self) -> None:
        self.close()
        self._container = open_media(self.path)
        self._pending = self._timed(self._container)
        self._current: tuple[float, av.VideoFrame] | None = None
        self._next = next(self._pending, None)

    def _timed(self, container: InputContainer) -> Generator[tuple[float, av.VideoFrame]]:
        """Frames with the time at which they appear, up to the first that cannot be decoded whole."""
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # frames ahead of an error are not lost
        try:
            for number, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:  # what was lost is painted over with what is beside it
                    return
                yield (number * self._interval if frame.time is None else frame.time - self._start), frame
        except FFmpegError:
            return

    def _advance(self, middle: float) -> bool:
        """Make the frame on screen at ``middle`` the current one; False when the frames end before it."""
        if self._current is not None and self._current[0] > middle:
            self._rewind()
        while self._next is not None and (self._current is None or self._next[0] <= middle):
            self._current, self._next = self._next, next(self._pending, None)
        if self._current is None:
            return False
        return self._next is not None or middle < self._current[0] + 1.5 * self._interval

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 RGB (H, W, 3), turned as the file asks."""
        rgb = self._to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
