"""Small videos made here, and models that see a white square as a face: exact, and fast."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from moda.codec.base import EncodedClip
from moda.errors import UserError
from moda.motion.layout import get_layout

CLOCK = 90_000  # ticks a second


def square(left: int, top: int, side: int, size: tuple[int, int] = (160, 160), level: int = 255) -> np.ndarray:
    """A black picture (height, width, 3) with one square."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[max(top, 0) : top + side, max(left, 0) : left + side] = level
    return picture


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Iterable[float] | None = None,
    sound: np.ndarray | None = None,
    start: float = 0.0,
    codec: str = "libx264",
    gop: int = 12,
    options: dict[str, str] | None = None,
) -> Path:
    """Write RGB pictures that appear at ``times`` (by default 25 a second), and 16 kHz sound from time 0.

    start: when the pictures begin on the clock of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = 25 if path.suffix == ".avi" else CLOCK
    shown = list(times) if times is not None else [number / 25 for number in range(len(pictures))]
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options={"crf": "12"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        stream.codec_context.gop_size = gop
        track = (
            None
            if sound is None
            else container.add_stream("flac" if path.suffix == ".mkv" else "aac", rate=SAMPLE_RATE, layout="mono")
        )
        for picture, time in zip(pictures, shown, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round((time + start) * clock), Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            samples = (sound * 32767).astype(np.int16)
            for at in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
                for converted in av.AudioResampler(format=track.format.name).resample(frame):
                    container.mux(track.encode(converted))
            container.mux(track.encode(None))
    return path


def ask_for_rotation(path: Path, degrees: int) -> None:
    """Write the display matrix of an mp4 whose pictures are to be turned clockwise."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 4 + 20 + 16
    struct.pack_into(">9i", content, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@dataclass(frozen=True)
class Spot:
    box: tuple[float, float, float, float]


class SquareDetector:
    """Finds the bright square, if its side is at least ``smallest`` of the picture's longer side."""

    def __init__(self, smallest: float = 0.1):
        self.smallest = smallest

    def detect(self, rgb: np.ndarray) -> Iterable[Spot]:
        rows, columns = np.nonzero(rgb[..., 1] > 128)
        if len(rows) == 0 or np.ptp(rows) + 1 < self.smallest * max(rgb.shape[:2]):
            return []
        return [Spot((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))]


class BrightnessCodec:
    """Motion is how bright the middle of the crop is, in the first dimension."""

    name, fingerprint, layout, identity_dim, size = "brightness", "codec-1", get_layout("head59"), 3, 64

    def encode(self, frames: Iterable[np.ndarray]) -> EncodedClip:
        middles = []
        for frame in frames:
            assert frame.shape[0] == frame.shape[1] and frame.dtype == np.uint8
            middle = len(frame) // 2
            middles.append(frame[middle - 2 : middle + 2, middle - 2 : middle + 2].mean() / 255)
        motion = np.zeros((len(middles), self.layout.dim), np.float32)
        motion[:, 0] = middles
        found = motion[:, 0] > 0.1
        if not found.any():
            raise UserError("no frame shows a face")
        return EncodedClip(motion, np.ones(3, np.float32), found)

    def lip_aperture(self, motion: np.ndarray) -> np.ndarray:
        return motion[:, 0]


class PeakEncoder:
    """The largest sample of each frame."""

    name, fingerprint, num_layers, dim = "peak", "audio-1", 1, 1

    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        count = num_frames or len(waveform) // SAMPLES_PER_FRAME
        return np.abs(waveform[: count * SAMPLES_PER_FRAME]).reshape(count, 1, 1, -1).max(-1)
