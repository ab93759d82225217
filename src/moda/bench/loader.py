"""How fast one reader delivers windows, against reading the same tars with the standard library."""

import statistics
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from moda.data.resampled import ResampledStream
from moda.data.shards import FeatureShards
from moda.data.share import Share
from moda.data.stream import WindowStream
from moda.data.workers import ReaderLoader

PREFETCH = 4
BASELINE = "tarfile, from end to end"


@dataclass(frozen=True)
class LoaderRate:
    """clips_per_second, bytes_per_second: of shard bytes, medians. ratio: to the standard library, in the same rounds."""

    name: str
    clips_per_second: float
    bytes_per_second: float
    ratio: float


def measure_loader(
    root: str | Path, *, window: int = 80, previous: int = 10, batch: int = 32, rounds: int = 9
) -> list[LoaderRate]:
    """Read the train split of a data set in several ways; the first is the standard library's.

    Each round times every way once, so that what else the machine does touches all alike; a ratio is the
    median of the rounds' ratios. Nothing is cached but by the operating system: decoding is included, and
    so are cutting, normalising and stacking the windows. One thread, as a reader process has.
    """
    torch.set_num_threads(1)
    shards = FeatureShards(root, "train")
    shards.verify()
    batches = max(sum(shards.sizes) // batch, 1)
    settings: dict[str, Any] = {"window": window, "previous": previous, "seed": 0}
    ordered = WindowStream(shards, Share(batch), **settings, cache_mb=0)
    streams: dict[str, Any] = {
        "ordered stream": ordered,
        "ordered stream, through a reader process": ReaderLoader(ordered, num_workers=1, prefetch_factor=PREFETCH),
        "resampled stream": ResampledStream(shards, Share(batch), **settings),
    }
    running = {name: iter(stream) for name, stream in streams.items()}
    for source in running.values():
        _take(source, batches)  # buffers are full, readers started
    ways: dict[str, tuple[Callable[[], None], int]] = {
        BASELINE: (lambda: _read_tars(shards), sum(shards.sizes)),
        "decoded clips": (lambda: _exhaust(iter(shards)), sum(shards.sizes)),
    }
    for name, source in running.items():
        ways[name] = (lambda source=source: _take(source, batches), batches * batch)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (way, clips) in ways.items():
            if name in running:
                _take(running[name], PREFETCH)  # what the reader had ready is not its rate
            seconds[name].append(_seconds(way) / clips)
    return [_rate(name, seconds, shards.nbytes / sum(shards.sizes)) for name in ways]


def _rate(name: str, seconds: dict[str, list[float]], clip_bytes: float) -> LoaderRate:
    clips = 1 / statistics.median(seconds[name])
    ratio = statistics.median(base / own for base, own in zip(seconds[BASELINE], seconds[name], strict=True))
    return LoaderRate(name, clips, clips * clip_bytes, ratio)


def _read_tars(shards: FeatureShards) -> None:
    for shard in shards.shards:
        with tarfile.open(shards.root / shard.features, "r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                file.read()


def _exhaust(source: Iterator[Any]) -> None:
    for _ in source:
        pass


def _take(source: Iterator[Any], count: int) -> None:
    _exhaust(islice(source, count))


def _seconds(way: Callable[[], None]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
