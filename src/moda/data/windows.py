"""Cutting fixed windows of motion and speech features out of clips; pure functions."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from moda.data.batches import Batch, allocate
from moda.data.decode import Clip
from moda.data.schema import check_intensity, emotion_index
from moda.motion.reference import resize, scale_ratio
from moda.motion.statistics import MotionStatistics

Window = dict[str, Any]

KEPT = {np.dtype(bool): torch.bool, np.dtype(np.float16): torch.float16}  # types that a batch has as well


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


def cut_window(
    clip: Clip, start: int, window: int, previous: int, statistics: MotionStatistics, reference_scale: bool = False
) -> Window:
    """Frames ``start - previous`` to ``start + window`` of a clip.

    motion: (P + W, D) float32, normalised; with ``reference_scale`` at the mean scale, by the ratio of the
    clip's first frame. audio: (W, L, C) as stored, aligned with the last W frames.
    Both repeat the first row before the clip and the last after it, as sampling does.
    valid: (P + W,) bool, False after the clip's end. identity: (I,). emotion: class index. intensity: () float32, of
    the emotion. key, start.
    No array shares memory with the clip, whose memory the next one can then take.
    """
    first, end = start - previous, start + window
    if first >= 0 and end <= clip.num_frames:
        motion, audio, valid = clip.motion[first:end], clip.audio[start:end].copy(), np.ones(end - first, bool)
    else:
        frames = np.arange(first, end)
        rows = frames.clip(0, clip.num_frames - 1)
        motion, audio, valid = clip.motion[rows], clip.audio[rows[previous:]], frames < clip.num_frames
    if reference_scale:
        motion = resize(motion, 1 / scale_ratio(clip.motion[0], statistics), statistics.layout)
    return {
        "motion": statistics.normalize(motion),
        "valid": valid,
        "audio": audio,
        "identity": clip.identity.copy(),
        "emotion": emotion_index(clip.record.emotion),
        "intensity": np.array(check_intensity(clip.record.emotion_intensity), np.float32),
        "key": clip.key,
        "start": start,
    }


def collate(windows: Sequence[Window]) -> Batch:
    """Stack windows: arrays to tensors (B, ...), bool, float16 as stored or float32, numbers to (B,) long, keys to a list.

    Sound stays float16, half as much to hand over and to send to a GPU; ``moda.training.base.on_device`` widens it.
    """
    columns = {name: [window[name] for window in windows] for name in windows[0]}
    batch = allocate({name: wanted for name, values in columns.items() if (wanted := _wanted(values))})
    for name, tensor in batch.items():
        values = columns[name]
        if not isinstance(values[0], np.ndarray):
            tensor.copy_(torch.tensor(values))
        else:
            np.stack(values, out=tensor.numpy(), casting="same_kind")
    return columns | batch


def _wanted(values: Sequence[Any]) -> tuple[Sequence[int], torch.dtype] | None:
    """Shape and type of the tensor of these values; None for text, which stays a list."""
    first = values[0]
    if isinstance(first, str):
        return None
    if isinstance(first, np.ndarray):
        return (len(values), *first.shape), KEPT.get(first.dtype, torch.float32)
    return (len(values),), torch.long
