"""Writing clips as WebDataset shards, byte for byte the same from the same clips."""

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.writer import TarWriter

from moda.data.schema import FEATURE_MEMBERS, VIDEO_MEMBERS, ClipRecord, Shard, check_key
from moda.errors import UserError
from moda.files import atomic_path, sha256_of


@dataclass(frozen=True)
class Sample:
    """One clip on its way into a shard.

    motion (T, D), identity (I,), audio (T, L, C); video and sound are files (mp4, flac), both or none.
    """

    record: ClipRecord
    motion: np.ndarray
    identity: np.ndarray
    audio: np.ndarray
    video: Path | None = None
    sound: Path | None = None


def plan_shards(num_samples: int, longest: int, at_least: int = 4) -> list[slice]:
    """Which samples go into which shard, in parts that differ by at most one sample.

    longest: samples in a shard at most. A small set still gets ``at_least`` shards of two samples or
    more, so that several readers have something to share.
    """
    if num_samples < 1 or longest < 1 or at_least < 1:
        raise ValueError(f"cannot plan shards of {longest} for {num_samples} samples")
    count = max(-(-num_samples // longest), min(at_least, num_samples // 2), 1)
    edges = np.linspace(0, num_samples, count + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def write_shard(root: Path, split: str, index: int, samples: Iterable[Sample], with_video: bool = True) -> Shard:
    """Write SPLIT/features-INDEX.tar, and video-INDEX.tar beside it, below ``root``.

    Samples are consumed one at a time. Both files appear when they are complete. Raises UserError
    for a key that may not name a sample, one that occurs twice, another split, arrays that do not
    fit the record, NaN, and a disk that cannot take the file.
    """
    features, video = f"{split}/features-{index:06d}.tar", f"{split}/video-{index:06d}.tar"
    keys: set[str] = set()
    frames = 0
    with _tar(root / features) as feature_tar, _tar(root / video) if with_video else nullcontext() as video_tar:
        for sample in samples:
            record = sample.record
            key = check_key(record.key)
            if key in keys:
                raise UserError(f"sample key {key} occurs twice in {features}")
            if record.split != split:
                raise UserError(f"{key} belongs to {record.split}, not to {split}")
            keys.add(key)
            frames += record.num_frames
            feature_tar.write({"__key__": key} | _feature_members(sample))
            if video_tar is not None:
                video_tar.write({"__key__": key} | _video_members(sample))
    path, video_path = root / features, root / video
    return Shard(
        split=split,
        features=features,
        video=video if with_video else None,
        num_samples=len(keys),
        num_frames=frames,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        video_sha256=sha256_of(video_path) if with_video else None,
    )


def dataset_fingerprint(
    shards: Iterable[Shard],
    codec: Mapping[str, Any],
    codec_fingerprint: str,
    audio_encoder: Mapping[str, Any],
    audio_fingerprint: str,
) -> str:
    """SHA-256 over the content of all shards and what made them (fields of ``DatasetManifest``); changes when any does."""
    content = [[shard.split, shard.sha256, shard.video_sha256] for shard in shards]
    value = [content, codec, codec_fingerprint, audio_encoder, audio_fingerprint]
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def _tar(path: Path) -> Iterator[TarWriter]:
    """A tar whose bytes depend on its members alone: no time, no owner."""
    plain: dict[str, Any] = {"user": "", "group": "", "mode": 0o444, "mtime": 0, "compress": False, "encoder": False}
    with atomic_path(path) as temporary, open(temporary, "wb") as file, TarWriter(file, **plain) as writer:
        yield writer


def _feature_members(sample: Sample) -> dict[str, bytes]:
    record, length = sample.record, sample.record.num_frames
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite and is refused below
        arrays = {
            "motion.npy": np.asarray(sample.motion, np.float32),
            "identity.npy": np.asarray(sample.identity, np.float32),
            "audio.npy": np.asarray(sample.audio, np.float16),
        }
    for name, dims in (("motion.npy", 2), ("identity.npy", 1), ("audio.npy", 3)):
        array = arrays[name]
        if array.ndim != dims or (dims > 1 and len(array) != length):
            raise UserError(f"{record.key}.{name} has shape {array.shape}, but the clip has {length} frames")
        if not np.isfinite(array).all():
            raise UserError(f"{record.key}.{name} holds NaN or infinity")
    text = json.dumps(record.to_dict(), allow_nan=False, sort_keys=True)
    members = {"json": text.encode()} | {name: _npy(array) for name, array in arrays.items()}
    assert tuple(members) == FEATURE_MEMBERS
    return members


def _video_members(sample: Sample) -> dict[str, bytes]:
    if sample.video is None or sample.sound is None:
        raise UserError(f"{sample.record.key} has no video or no sound to go into the video shard")
    return dict(zip(VIDEO_MEMBERS, (sample.video.read_bytes(), sample.sound.read_bytes()), strict=True))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
