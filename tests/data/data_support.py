"""Streams over a data set, what their batches hold, and ways to spoil a data set."""

import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from dataset_support import save

from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards, OnCorrupt, refuse
from moda.data.share import Share
from moda.data.stream import WindowStream
from moda.files import sha256_of

Place = tuple[int, str, int]  # place in the stream, key of the clip, first frame
Members = list[tuple[str, bytes]]


def stream(dataset: Path, *, on_corrupt: OnCorrupt = refuse, **settings: Any) -> WindowStream:
    """The ordered stream of a data set; settings are those of ``Share`` or of ``WindowStream``."""
    names = ("micro_batch", "rank", "world_size", "start_sample")
    share = Share(**{"micro_batch": 4, **{name: settings.pop(name) for name in names if name in settings}})
    shards = FeatureShards(dataset, "train", on_corrupt=on_corrupt)
    return WindowStream(shards, share, **{"window": 16, "previous": 2, "seed": 0, **settings})


def places(batches: Iterable[dict[str, Any]]) -> list[list[Place]]:
    return [list(zip(batch["index"].tolist(), batch["key"], batch["start"].tolist(), strict=True)) for batch in batches]


def take(source: Iterable[dict[str, Any]], count: int) -> list[list[Place]]:
    return places(islice(iter(source), count))


def joined(parts: Iterable[list[Place]]) -> list[Place]:
    return list(chain.from_iterable(parts))


def members_of(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def rewrite(root: Path, change: Callable[[Members], Members], shard: int = 0, entries=()) -> Path:
    """Change the members of a shard (the train split's come first) and tell the manifest its new size and hash.

    entries: TarInfo without content, put at the end.
    """
    manifest = DatasetManifest.load(root)
    path = root / manifest.shards[shard].features
    members = change(members_of(path))
    path.unlink()
    write_tar(path, members, entries)
    shards = list(manifest.shards)
    shards[shard] = replace(shards[shard], bytes=path.stat().st_size, sha256=sha256_of(path))
    save(replace(manifest, shards=tuple(shards)), root)
    return path


def write_tar(path: Path, members: Members, entries: Iterable[tarfile.TarInfo] = ()) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in entries:
            tar.addfile(info)


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def replaced(suffix: str, data: bytes) -> Callable[[Members], Members]:
    """Give the first sample other content for one member."""

    def change(members: Members) -> Members:
        key = members[0][0].partition(".")[0]
        return [(name, data if name == f"{key}.{suffix}" else old) for name, old in members]

    return change


def spoil_all(members: Members) -> Members:
    """No sample of the shard can be used any more."""
    return [(name, b"broken" if name.endswith("audio.npy") else data) for name, data in members]
