"""Small videos, and an extractor that costs nothing."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moda.errors import UserError
from moda.eval.videos.measure import Item, Measured
from moda.eval.videos.protocol import Protocol
from moda.generation.video import VideoWriter

PROTOCOL = Protocol("test", 1, "face", 64, 0.0, None, 10, 0.0, False, fvd_frames=8, fvd_stride=8, fid_frames=10)


def write_video(
    path: Path, frames: int = 30, *, fps: int = 25, size: tuple[int, int] = (64, 64), seed: int = 0, sound: bool = True
) -> Path:
    """Grey levels that rise by one pixel value a frame over a fixed texture, and noise as sound."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 60, (*size, 1))
    audio = rng.normal(0, 0.1, frames * 16_000 // fps).astype(np.float32) if sound else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, size, fps, audio, crf=1) as writer:
        for t in range(frames):
            writer.write(np.broadcast_to(texture + 2 * t + 20, (*size, 3)).clip(0, 255).astype(np.uint8))
    return path


class MeanExtractor:
    """{"features": (T, 3)} mean colour, or a failure for videos whose first frame is darker than ``darkest``."""

    needs_sound = False

    def __init__(self, name: str = "image", darkest: float = 0.0, label: str = "FD-mean"):
        self.name, self.darkest, self.label = name, darkest, label

    def identity(self):
        return {"label": self.label, "darkest": self.darkest}

    def begin(self, view):
        return _Means(self)


@dataclass
class _Means:
    extractor: MeanExtractor
    found: list[np.ndarray] = field(default_factory=list)

    def add(self, frames):
        self.found.append(frames.astype(np.float64).mean((1, 2)))
        if self.found[0][0].mean() < self.extractor.darkest:
            raise UserError("it is too dark")

    def finish(self):
        return {"features": np.concatenate(self.found)}


def two_extractors(device: str):
    return [MeanExtractor(), MeanExtractor("video", darkest=1000.0, label="FD-none")]


def items_of(folder: Path, count: int = 3) -> list[Item]:
    return [Item(f"clip{i}", write_video(folder / f"clip{i}.mp4", 20 + i, seed=i)) for i in range(count)]


class FakeCache(dict):
    """key -> arrays, in place of the folder."""

    def load(self, key):
        return self[key["name"]]


def measured(key: str, **arrays: dict) -> Measured:
    """What measuring would have found; an array given as a string is the reason for its absence."""
    cache = FakeCache({name: found for name, found in arrays.items() if not isinstance(found, str)})
    problems = {name: found for name, found in arrays.items() if isinstance(found, str)}
    keys = {name: {"name": name} for name in arrays}
    return Measured(key, 30, f"sha of {key}", "sound", cache, keys, problems)  # pyright: ignore[reportArgumentType]
