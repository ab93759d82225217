"""Reading feature shards: an allow-list of members, every shape checked, nothing ever unpickled."""

import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.tariterators import group_by_keys, tar_file_expander

from moda.data.schema import FEATURE_MEMBERS, MANIFEST_NAME, ClipRecord, DatasetManifest, Shard, check_key
from moda.errors import UserError

Sample = dict[str, Any]  # as webdataset groups it: "__key__" and member suffix -> bytes


@dataclass(frozen=True)
class Clip:
    """One clip of a data set as it lies in its shard.

    motion: (T, D) float32 in the layout's units. identity: (I,) float32.
    audio: (T, L, C) in the type it was stored in (float16), to keep caches small.
    """

    record: ClipRecord
    motion: np.ndarray
    identity: np.ndarray
    audio: np.ndarray

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def num_frames(self) -> int:
        return len(self.motion)

    @property
    def nbytes(self) -> int:
        return self.motion.nbytes + self.identity.nbytes + self.audio.nbytes


class CorruptSampleError(UserError):
    """One sample cannot be used; the message names its shard and key."""


def refuse(error: CorruptSampleError) -> None:
    """The default answer to a corrupt sample: stop. Another policy may count and return."""
    raise error


class FeatureShards:
    """The feature shards of one split, in the manifest's order.

    Opening compares every shard's size with dataset.json, so that a copy cut short is found before
    training and not in the middle of it. Raises UserError for an absent split or such a shard.
    """

    def __init__(self, root: str | Path, split: str, manifest: DatasetManifest | None = None):
        self.root = Path(root)
        self.split = split
        self.manifest = manifest or DatasetManifest.load(root)
        self.shards = self.manifest.shards_of(split)
        for shard in self.shards:
            check_shard(self.root, shard)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of clips in each shard."""
        return tuple(shard.num_samples for shard in self.shards)

    @property
    def nbytes(self) -> int:
        """Size of all shards on disk."""
        return sum(shard.bytes for shard in self.shards)

    def read(
        self,
        index: int,
        positions: Collection[int] | None = None,
        on_corrupt: Callable[[CorruptSampleError], None] = refuse,
    ) -> Iterator[tuple[int, Clip]]:
        """Yield (position, clip) of shard ``index`` in order; ``positions`` limits which are decoded.

        ``on_corrupt`` hears of each sample that cannot be used; where it returns, that sample is left out.
        """
        shard = self.shards[index]
        path = check_shard(self.root, shard)
        count = 0
        for count, sample in enumerate(_samples(path), start=1):
            if positions is not None and count - 1 not in positions:
                continue
            try:
                clip = decode(sample, self.manifest, self.split)
            except ValueError as error:  # a UserError is one
                on_corrupt(CorruptSampleError(f"{path}, sample {sample['__key__']!r}: {error}; prepare it again"))
                continue
            yield count - 1, clip
        if count != shard.num_samples:
            raise UserError(
                f"{path} holds {count} samples, {MANIFEST_NAME} says {shard.num_samples}; copy or prepare it again"
            )

    def __iter__(self) -> Iterator[Clip]:
        """All clips of the split in order."""
        for index in range(len(self.shards)):
            for _, clip in self.read(index):
                yield clip


def check_shard(root: Path, shard: Shard) -> Path:
    """Path of a shard's features, if the file lies inside ``root`` and has the size dataset.json gives."""
    path = root / shard.features
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{root / MANIFEST_NAME} names the shard {shard.features!r} outside the data set; refused")
    if not path.is_file():
        raise UserError(f"shard {path} is missing; copy it again or prepare the data set again")
    size = path.stat().st_size
    if size != shard.bytes:
        raise UserError(
            f"shard {path} has {size} bytes, {MANIFEST_NAME} says {shard.bytes}; copy it again or prepare it again"
        )
    return path


def decode(sample: Sample, manifest: DatasetManifest, split: str) -> Clip:
    """Turn the bytes of one sample into a clip; a ValueError says what is wrong with it."""
    missing = [suffix for suffix in FEATURE_MEMBERS if suffix not in sample]
    if missing:
        raise ValueError(f"no member {', '.join(missing)}")
    try:
        record = ClipRecord.from_dict(json.loads(sample["json"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its json member is not a clip record ({error})") from error
    if record.key != sample["__key__"] or record.split != split:
        raise ValueError(f"its json member says clip {record.key!r} of split {record.split!r}")
    frames, layout = record.num_frames, manifest.layout
    motion = _array(sample, "motion.npy", (frames, layout.dim)).astype(np.float32, copy=False)
    identity = _array(sample, "identity.npy", (manifest.identity_dim,)).astype(np.float32, copy=False)
    audio = _array(sample, "audio.npy", (frames, manifest.audio_layers, manifest.audio_dim))
    if frames < 1 or record.fps != layout.fps:
        raise ValueError(f"it has {frames} frames at {record.fps} a second, the layout has {layout.fps} a second")
    return Clip(record, motion, identity, audio)


def _array(sample: Sample, suffix: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(sample[suffix]), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"{suffix} cannot be read ({error})") from error
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{suffix} is {found}, expected floating point of shape {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{suffix} holds NaN or infinity")
    return array


def _samples(path: Path) -> Iterator[Sample]:
    """Members of a tar grouped by key. webdataset skips what is no regular file; its decoders stay unused."""
    with open(path, "rb") as stream:
        files = tar_file_expander([{"url": str(path), "stream": stream}], eof_value=None)
        try:
            yield from _unique(group_by_keys(_allowed(files, path)), path)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"shard {path} is damaged ({error.args[0]}); copy it again or prepare it again") from error


def _allowed(files: Iterable[Sample], path: Path) -> Iterator[Sample]:
    for file in files:
        key, _, suffix = file["fname"].partition(".")
        if suffix not in FEATURE_MEMBERS:
            raise UserError(
                f"shard {path} holds the member {file['fname']!r}; only {', '.join(FEATURE_MEMBERS)} are read"
            )
        check_key(key)
        yield file


def _unique(samples: Iterable[Sample], path: Path) -> Iterator[Sample]:
    seen: set[str] = set()
    for sample in samples:
        if sample["__key__"] in seen:
            raise UserError(f"shard {path} holds sample {sample['__key__']!r} in two places; prepare it again")
        seen.add(sample["__key__"])
        yield sample
