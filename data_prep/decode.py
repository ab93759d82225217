"""Frames of a video at 25 a second, upright, in constant memory; decord decodes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moda.errors import UserError

BLOCK_BYTES = 160 * 2**20
ROUNDING = 1e-3  # seconds; containers and decord round time stamps, and a change may fall on the middle
LONGEST = 36 * 3600.0  # seconds; a time stamp beyond it is broken


def resample_indices(timestamps: np.ndarray, fps: float) -> np.ndarray:
    """Source frame for each frame of the constant-rate video that begins at time 0.

    timestamps: (N, 2) when each source frame appears and disappears, in seconds, rising. Output
    frame t lasts from t / fps to (t + 1) / fps and takes the source frame on screen in the middle
    of that: slow sources repeat, fast ones skip, and neither is early or late on average.
    """
    begin, end = timestamps[:, 0], float(timestamps[-1, 1])
    count = int(np.floor(end * fps + 0.5))
    middle = (np.arange(count) + 0.5) / fps + ROUNDING
    return np.maximum(np.searchsorted(begin, middle, side="right") - 1, 0)


class DecordFailure(UserError):
    """Decord cannot read the stream to its end; ``patient.PatientReader`` may read it, or most of it."""


class FrameReader:
    """A video as ``num_frames`` frames at ``fps``; time 0 is the video stream's own start.

    Rotation that the file asks for is applied; ``height`` and ``width`` are those of upright frames.
    ``num_frames`` is what the file's index lists, and becomes smaller where reading ends before that.
    Making one and reading raise DecordFailure where decord fails.
    """

    def __init__(self, path: Path, fps: float = 25.0):
        self.fps = fps
        self._reader = _open(path)
        timestamps, self._has_times = _timestamps(self._reader)
        first = self._read(0, 0)
        if first is None:
            raise UserError("its video stream holds no frame")
        self._reader.seek(0)
        self.height, self.width = first.shape[:2]
        self.indices = resample_indices(timestamps, fps)  # (T,)
        self.source_fps = len(timestamps) / float(timestamps[-1, 1] - timestamps[0, 0])
        self.num_frames = len(self.indices)

    def frames(
        self, wanted: range, prepare: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (t, prepare(frame)) for each t of ``wanted``, which rises; frames are uint8 RGB (H, W, 3).

        Decord decodes in a thread of its own, without end if what it has
        decoded is used slowly; so frames are fetched in blocks of at most ``BLOCK_BYTES`` and the
        thread rests while they are used. What ``prepare`` leaves of a frame is what a block holds.
        """
        last = wanted.start - 1  # the last frame that was read
        while wanted and wanted[0] < self.num_frames:
            block: list[tuple[int, np.ndarray]] = []
            source, held = -1, 0
            for t in wanted:
                if t >= self.num_frames:
                    break
                if source != self.indices[t]:
                    frame = self._read(int(self.indices[t]), source + 1)
                    if frame is None:
                        self.num_frames = last + 1
                        break
                    source, prepared = int(self.indices[t]), prepare(frame)
                block.append((t, prepared))
                last, held = t, held + prepared.nbytes
                if held >= BLOCK_BYTES:
                    break
            self._reader.seek(0)  # empties decord's queue
            yield from block
            wanted = wanted[len(block) :]

    def _read(self, source: int, position: int) -> np.ndarray | None:
        """Source frame ``source`` when ``position`` comes next; None where the stream ends before it."""
        try:
            if not self._has_times:  # decord seeks and skips by time stamps
                for _ in range(source - position):
                    self._reader.next()
            elif position == 0 and source > 0:
                self._reader.seek_accurate(source)
            elif source > position:
                self._reader.skip_frames(source - position)
            frame = self._reader.next().asnumpy()
        except StopIteration:
            return None
        except (RuntimeError, _decord().DECORDError) as error:
            # which frames before the damage are still handed out is a matter of threads: none is used
            raise DecordFailure("its video stream is corrupt; repair it or cut the damage out") from error
        if frame.shape[2] != 3:  # decord 3.4 misreads rows of 32, 48, 96 and 144 pixels
            raise UserError(f"frames {frame.shape[1]} pixels wide cannot be decoded; scale the video")
        return frame


def _open(path: Path) -> Any:
    if not _has_index(path):
        raise DecordFailure("its container has no index, and decord does not find the frame that it seeks")
    decord = _decord()
    try:
        return decord.VideoReader(str(path.resolve()), ctx=decord.cpu(0), num_threads=1)
    except (RuntimeError, AssertionError, decord.DECORDError) as error:
        raise DecordFailure("its video stream cannot be decoded") from error


def _has_index(path: Path) -> bool:
    """Whether it is MP4 and its kin, Matroska or AVI. In MPEG streams and ASF decord seeks to the wrong frame."""
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head.startswith((b"\x1a\x45\xdf\xa3", b"RIFF"))


def _decord() -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _timestamps(reader: Any) -> tuple[np.ndarray, bool]:
    """(N, 2) seconds, and whether the container has them.

    Where it has none (AVI), frames are as long as the declared rate says.
    """
    count = len(reader)
    times = np.asarray(reader.get_frame_timestamp(range(count)), np.float64)
    sane = np.isfinite(times).all() and (np.abs(times) < LONGEST).all() and times[:, 1].max() > times[:, 0].min()
    if not sane:
        fps = float(reader.get_avg_fps())
        if not 1 <= fps <= 1000:
            raise UserError(f"it has no time stamps, and declares {fps:g} frames a second")
        times = np.stack([np.arange(count), np.arange(1, count + 1)], 1) / fps
    return times[np.argsort(times[:, 0], kind="stable")], bool(sane)
