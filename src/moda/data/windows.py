"""Cutting fixed windows of motion and speech features out of clips; pure functions."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from moda.data.schema import emotion_index
from moda.data.shards import Clip
from moda.motion.statistics import MotionStatistics

Window = dict[str, Any]
Batch = dict[str, Any]


def hashed_seed(*parts: object) -> int:
    """A 64-bit number that depends on every part and on nothing else (no process, no hash salt)."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def random_start(seed: int, epoch: int, key: str, num_frames: int, window: int) -> int:
    """First frame of the window that ``epoch`` takes from clip ``key``, uniform over the places it fits."""
    places = max(num_frames - window, 0) + 1
    return hashed_seed(seed, epoch, key) % places


def tiled_starts(num_frames: int, window: int) -> range:
    """Starts of windows laid end to end; a rest shorter than a window is dropped unless it is all there is."""
    return range(0, max(num_frames - window, 0) + 1, window)


def cut_window(clip: Clip, start: int, window: int, previous: int, statistics: MotionStatistics) -> Window:
    """Frames ``start - previous`` to ``start + window`` of a clip.

    motion: (P + W, D) float32, normalised. audio: (W, L, C) float32, aligned with the last W frames.
    Both repeat the first row before the clip and the last after it, as sampling does.
    valid: (P + W,) bool, False after the clip's end. identity: (I,). emotion: class index. key, start.
    """
    frames = np.arange(start - previous, start + window)
    rows = frames.clip(0, clip.num_frames - 1)
    return {
        "motion": statistics.normalize(clip.motion[rows]).astype(np.float32, copy=False),
        "valid": frames < clip.num_frames,
        "audio": clip.audio[rows[previous:]].astype(np.float32),
        "identity": clip.identity,
        "emotion": emotion_index(clip.record.emotion),
        "key": clip.key,
        "start": start,
    }


def collate(windows: Sequence[Window]) -> Batch:
    """Stack windows: arrays to tensors (B, ...), numbers to (B,) long, keys to a list."""
    batch: Batch = {}
    for name, first in windows[0].items():
        values = [window[name] for window in windows]
        if isinstance(first, np.ndarray):
            batch[name] = torch.from_numpy(np.stack(values))
        else:
            batch[name] = values if isinstance(first, str) else torch.tensor(values, dtype=torch.long)
    return batch
