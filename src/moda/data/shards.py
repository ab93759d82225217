"""Random access to the clips of a data set's feature shards."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from moda.data.decode import Clip, decode
from moda.data.index import ShardIndex, scan
from moda.data.schema import MANIFEST_NAME, DatasetManifest, Shard
from moda.errors import UserError

OPEN_FILES = 64  # shards a process keeps open


class CorruptSampleError(UserError):
    """One sample cannot be used; the message names its shard and key, as the attributes do."""

    def __init__(self, message: str, shard: str = "", key: str = "", reason: str = ""):
        super().__init__(message)
        self.shard, self.key, self.reason = shard, key, reason


OnCorrupt = Callable[[CorruptSampleError], None]


def refuse(error: CorruptSampleError) -> None:
    """The default answer to a corrupt sample: stop. Another policy may report and return."""
    raise error


class FeatureShards:
    """The feature shards of one split, in the manifest's order.

    Opening compares every shard's size with dataset.json, so that a copy cut short is found before
    training and not in the middle of it. Raises UserError for an absent split or such a shard.
    ``on_corrupt`` hears of each sample that cannot be used; where it returns, that sample is left out.
    """

    def __init__(
        self, root: str | Path, split: str, manifest: DatasetManifest | None = None, on_corrupt: OnCorrupt = refuse
    ):
        self.root = Path(root)
        self.split = split
        self.manifest = manifest or DatasetManifest.load(root)
        self.shards = self.manifest.shards_of(split)
        self.on_corrupt = on_corrupt
        self._indices: dict[int, ShardIndex] = {}
        self._files = OpenFiles()
        self._paths = [check_shard(self.root, shard) for shard in self.shards]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of clips in each shard."""
        return tuple(shard.num_samples for shard in self.shards)

    @property
    def nbytes(self) -> int:
        """Size of all shards on disk."""
        return sum(shard.bytes for shard in self.shards)

    def index(self, shard: int) -> ShardIndex:
        """Where the samples of a shard lie; scanned once. Raises UserError if it is not as dataset.json says."""
        if shard not in self._indices:
            known = self.shards[shard]
            path = check_shard(self.root, known)
            index = scan(path)
            if len(index) != known.num_samples:
                raise UserError(
                    f"{path} holds {len(index)} samples, {MANIFEST_NAME} says {known.num_samples}; "
                    "copy or prepare it again"
                )
            self._indices[shard] = index
        return self._indices[shard]

    def verify(self) -> None:
        """Scan the headers of every shard (about 0.1 ms a clip) and compare the counts with dataset.json."""
        for shard in range(len(self.shards)):
            self.index(shard)

    def load(self, shard: int, position: int) -> Clip:
        """One clip, by a single read of its bytes. Raises CorruptSampleError."""
        index = self.index(shard)
        path, key = self._paths[shard], index.keys[position]
        members = index.members(position, lambda first, end: self._files.read(path, first, end))
        try:
            return decode(key, members, self.manifest, self.split)
        except ValueError as error:  # a UserError is one
            raise corrupt(path, key, error) from error

    def read(
        self, shard: int, positions: Iterable[int] | None = None, on_corrupt: OnCorrupt | None = None
    ) -> Iterator[tuple[int, Clip]]:
        """Yield (position, clip) of a shard; only ``positions``, in order, where they are given."""
        report = on_corrupt or self.on_corrupt
        for position in range(len(self.index(shard))) if positions is None else sorted(positions):
            try:
                clip = self.load(shard, position)
            except CorruptSampleError as error:
                report(error)
            else:
                yield position, clip

    def __iter__(self) -> Iterator[Clip]:
        """All clips of the split in order."""
        for shard in range(len(self.shards)):
            for _, clip in self.read(shard):
                yield clip


class OpenFiles:
    """Reading from many files, of which the ``OPEN_FILES`` last used stay open.

    Reads give their own offset, so that processes forked from one another may share the descriptors.
    """

    def __init__(self) -> None:
        self._descriptors: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, first: int, end: int) -> memoryview:
        """Bytes ``first`` to ``end`` of a file; UserError if it has become shorter or unreadable."""
        content = np.empty(end - first, np.uint8).data  # not zeroed first, as a bytearray would be
        done = 0
        try:
            descriptor = self._descriptor(path)
            while done < len(content):
                count = os.preadv(descriptor, [content[done:]], first + done)
                if count == 0:
                    raise UserError(f"shard {path} has become shorter while it was read; copy it again")
                done += count
        except OSError as error:
            raise UserError(f"shard {path} cannot be read: {error.strerror}") from error
        return content

    def _descriptor(self, path: Path) -> int:
        if path not in self._descriptors:
            if len(self._descriptors) >= OPEN_FILES:
                os.close(self._descriptors.popitem(last=False)[1])
            self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors.move_to_end(path)
        return self._descriptors[path]

    def __getstate__(self) -> dict[str, object]:
        return {"_descriptors": OrderedDict()}  # another process opens its own

    def __del__(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def corrupt(path: Path, key: str, reason: ValueError) -> CorruptSampleError:
    return CorruptSampleError(f"{path}, sample {key!r}: {reason}; prepare it again", str(path), key, str(reason))


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
