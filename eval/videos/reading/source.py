"""A video file as the evaluation reads it: 25 frames a second by time stamps, and its sound."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from moda.audio.io import load_audio
from moda.data_prep.decode import DecordFailure, FrameReader
from moda.data_prep.patient import PatientReader
from moda.data_prep.probe import probe
from moda.errors import UserError
from moda.files import sha256_of

UNEVEN = 0.5  # part of the usual distance of two frames by which a distance may differ in a constant rate


@dataclass(frozen=True)
class VideoSource:
    """One video, and where its sound comes from.

    num_frames: at ``fps``. size: (height, width) of upright frames. rate: frames a second in the file.
    """

    path: Path
    sound_path: Path
    fps: int
    num_frames: int
    size: tuple[int, int]
    rate: float

    @cached_property
    def sha256(self) -> str:
        """Of the video file."""
        return sha256_of(self.path)

    @cached_property
    def sound_sha256(self) -> str:
        """Of the file that the sound is in."""
        return self.sha256 if self.sound_path == self.path else sha256_of(self.sound_path)

    @cached_property
    def variable_rate(self) -> bool:
        """Whether frames of the file are unevenly spaced."""
        with av.open(str(self.path.resolve())) as container:
            times = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
        steps = np.diff(times)
        return len(steps) > 1 and bool(np.abs(steps - np.median(steps)).max() > UNEVEN * np.median(steps))

    def frames(self) -> Iterator[np.ndarray]:
        """Yield uint8 RGB (H, W, 3); the frame on screen in the middle of each 25th of a second.

        Raises UserError where the file is damaged: half a video is not scored as a whole one.
        """
        count = 0
        try:
            for frame in _read(self.path, self.fps, range(self.num_frames)):
                count += 1
                yield frame
        except DecordFailure:  # also of sound videos
            for _, frame in PatientReader(self.path, self.fps).frames(range(count, self.num_frames)):
                count += 1
                yield frame
        if count < self.num_frames:
            raise UserError(f"only {count} of its {self.num_frames} frames can be read; it is damaged or cut short")

    def audio(self) -> np.ndarray:
        """(N,) int16 at 16 kHz; sample 0 belongs to the first frame. UserError where there is none or it is silent."""
        return np.round(np.clip(load_audio(self.sound_path), -1, 1) * 32767).astype(np.int16)


def _read(path: Path, fps: int, wanted: range) -> Iterator[np.ndarray]:
    """Frames of the faster reader; it is watched, unless it finds damage itself."""
    reader = _reader(path, fps)
    if isinstance(reader, PatientReader):
        yield from (frame for _, frame in reader.frames(wanted))
        return
    with closing(_Watch(path)) as watch:
        for t, frame in reader.frames(wanted):
            watch.until((t + 0.5) / fps)
            yield frame


class _Watch:
    """Decodes along without looking at pictures: decord paints damage inside a frame over and says nothing."""

    def __init__(self, path: Path):
        self._container = av.open(str(path.resolve()))
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self._start = float((stream.start_time or 0) * (stream.time_base or 0))
        self._frames = self._container.decode(stream)
        self._time = -1.0

    def until(self, time: float) -> None:
        """UserError for a damaged frame up to ``time`` seconds. What cannot be decoded at all the reader tells."""
        with suppress(FFmpegError):
            while self._time < time and (frame := next(self._frames, None)) is not None:
                self._time = time if frame.time is None else frame.time - self._start
                if frame.is_corrupt:
                    raise UserError(f"its picture at {self._time:.2f} s is damaged")

    def close(self) -> None:
        self._frames.close()
        self._container.close()


def open_source(path: str | Path, sound: str | Path | None = None, fps: int = 25) -> VideoSource:
    """Look at a video without reading it.

    sound: another file to take the sound from. Raises UserError for what is not a video, holds no
    frame, or has a first frame that cannot be decoded.
    """
    path = Path(path)
    probe(path)
    reader = _reader(path, fps)
    if reader.num_frames < 1:
        raise UserError("it has no frames")
    sound_path = path if sound is None else Path(sound)
    return VideoSource(path, sound_path, fps, reader.num_frames, (reader.height, reader.width), reader.source_fps)


def _reader(path: Path, fps: int) -> FrameReader | PatientReader:
    try:
        return FrameReader(path, fps)
    except UserError:  # decord gives up on some sound videos, and on a few widths
        return PatientReader(path, fps)
