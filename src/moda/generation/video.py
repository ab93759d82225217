"""Writing video with sound, frame by frame, in exact sync and constant memory."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np

from moda.errors import UserError
from moda.files import atomic_path

_AAC_FRAME = 1024  # samples in one AAC frame


class VideoWriter:
    """Context manager that writes uint8 RGB frames to an mp4 file (H.264 yuv420p, AAC mono).

    path: the final name, ending in .mp4; it appears when the body has ended well and not before.
    size: side of square frames, or (height, width); even, as 4:2:0 chroma needs.
    audio: (N,) float32 in [-1, 1] at ``sample_rate``, starting with the first frame. It is cut or
        padded with silence to the length of the video; None writes no sound track.
    crf: constant rate factor of H.264, 0 (lossless) to 51; gop: frames from one key frame to the next.
    threads: of H.264; 0 takes every core, 1 costs a fifth less of their time in all.
    x264: what is to be other than in the preset, as "deblock=1:8x8dct=1".

    Sound is muxed beside the frames it belongs to, so memory does not grow with length. There are
    no B-frames, so that frame t has decoding and presentation time t / fps; the encoder delay of
    AAC goes into the edit list of the file, and decoded sound starts with the first frame.

    Raises UserError for an odd size, another suffix, and a disk that cannot take the file.
    """

    def __init__(
        self,
        path: str | Path,
        size: int | tuple[int, int],
        fps: int = 25,
        audio: np.ndarray | None = None,
        sample_rate: int = 16_000,
        *,
        crf: int = 18,
        preset: str = "veryfast",
        gop: int = 25,
        threads: int = 0,
        x264: str = "",
        audio_bitrate: int = 96_000,
    ) -> None:
        self.path = Path(path)
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if self.path.suffix.lower() != ".mp4":
            raise UserError(f"cannot write {self.path}: the name of a video must end in .mp4")
        if self.height < 2 or self.width < 2 or self.height % 2 or self.width % 2:
            raise UserError(f"cannot write {self.path}: {self.width} x {self.height} pixels; both sides must be even")
        if audio is not None and audio.ndim != 1:
            raise ValueError(f"audio must be mono (N,), not {audio.shape}")
        self.fps, self.sample_rate = fps, sample_rate
        self.num_frames = 0
        self._audio = audio
        self._samples_written = 0
        self._video_options = {
            "crf": str(crf),
            "preset": preset,
            "g": str(gop),
            "bf": "0",
            "threads": str(threads),
            "x264-params": x264,
        }
        self._audio_bitrate = audio_bitrate
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # undone here if the file cannot be opened
            temporary = stack.enter_context(atomic_path(self.path))
            self._container = stack.enter_context(av.open(str(temporary), "w", format="mp4"))
            self._video = self._container.add_stream("libx264", rate=self.fps, options=self._video_options)
            self._video.width, self._video.height, self._video.pix_fmt = self.width, self.height, "yuv420p"
            if self._audio is not None:
                self._sound = self._container.add_stream("aac", rate=self.sample_rate, layout="mono")
                self._sound.bit_rate = self._audio_bitrate
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, rgb: np.ndarray) -> None:
        """Append one uint8 RGB frame (height, width, 3)."""
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"frame {self.num_frames} is {rgb.dtype} {rgb.shape}, not uint8 ({self.height}, {self.width}, 3)"
            )
        planes = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2YUV_I420)  # a tenth of what FFmpeg takes for it
        frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = self.num_frames, Fraction(1, self.fps)
        self._container.mux(self._video.encode(frame))
        self.num_frames += 1
        while self._samples_written + _AAC_FRAME <= self._samples_due():
            self._write_sound(_AAC_FRAME)

    def __exit__(self, kind, error, traceback) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)

    def _finish(self, kind, error, traceback) -> None:
        """Runs first on the way out: flush the encoders, unless the body has failed."""
        if kind is not None:
            return
        if self.num_frames == 0:
            raise UserError(f"{self.path} was not written: there are no frames")
        while self._samples_written < self._samples_due():
            self._write_sound(min(_AAC_FRAME, self._samples_due() - self._samples_written))
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._sound.encode(None))

    def _samples_due(self) -> int:
        """Sound that goes with the frames written so far."""
        return 0 if self._audio is None else round(self.num_frames * self.sample_rate / self.fps)

    def _write_sound(self, count: int) -> None:
        assert self._audio is not None
        start = self._samples_written
        chunk = np.zeros((1, count), np.float32)
        available = self._audio[start : start + count]
        chunk[0, : len(available)] = available
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.sample_rate, start, Fraction(1, self.sample_rate)
        self._container.mux(self._sound.encode(frame))
        self._samples_written += count
