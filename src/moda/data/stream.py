"""The endless training stream, whose order depends on nothing but the data and the seed.

Sample ``n`` of the stream is a pure function of (seed, data set fingerprint, n). Global batch ``b`` is
samples ``b G`` to ``(b + 1) G``; rank ``r`` of R takes the r-th slice of it and worker ``w`` of W the batches
``b = w (mod W)``. So the global batches are the same for every number of ranks and workers, and a run
resumes at any batch by starting there.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch, Window, collate, cut_window, hashed_seed, random_start, tiled_starts

Reference = tuple[int, int]  # (shard, position in it)


@dataclass(frozen=True)
class StreamOrder:
    """In which order the clips are visited.

    Each epoch permutes the shards, takes ``shuffle_shards`` of them at a time and permutes the clips
    inside such a block: as random as memory allows, and each shard is read once an epoch.
    """

    sizes: tuple[int, ...]
    seed: int
    fingerprint: str
    shuffle_shards: int = 8

    @property
    def epoch_length(self) -> int:
        return sum(self.sizes)

    def blocks(self, epoch: int) -> Iterator[tuple[int, list[Reference]]]:
        """(index of the block's first sample in the stream, clips in the order of their visit)."""
        rng = np.random.default_rng(hashed_seed("order", self.seed, self.fingerprint, epoch))
        shards = rng.permutation(len(self.sizes))
        first = epoch * self.epoch_length
        for at in range(0, len(shards), self.shuffle_shards):
            chosen = shards[at : at + self.shuffle_shards]
            references = [(int(shard), position) for shard in chosen for position in range(self.sizes[shard])]
            yield first, [references[i] for i in rng.permutation(len(references))]
            first += len(references)


class ClipCache:
    """Decoded clips, least recently used out first, up to ``limit`` bytes."""

    def __init__(self, shards: FeatureShards, limit: int):
        self.shards = shards
        self.limit = limit
        self.bytes = 0
        self.clips: OrderedDict[Reference, Clip] = OrderedDict()
        self.keep_all = shards.nbytes <= limit  # then a shard is read once for good

    def load(self, references: list[Reference]) -> dict[Reference, Clip]:
        """The clips wanted, read from their shards where they are not in memory."""
        loaded = {ref: self.clips[ref] for ref in references if ref in self.clips}
        wanted = set(references) - loaded.keys()
        for ref in loaded:
            self.clips.move_to_end(ref)
        for shard in sorted({shard for shard, _ in wanted}):
            positions = None if self.keep_all else {position for s, position in wanted if s == shard}
            for position, clip in self.shards.read(shard, positions):
                ref = (shard, position)
                self._store(ref, clip)
                if ref in wanted:
                    loaded[ref] = clip
        return loaded

    def _store(self, ref: Reference, clip: Clip) -> None:
        self.clips[ref] = clip
        self.bytes += clip.nbytes
        while self.bytes > self.limit:
            _, oldest = self.clips.popitem(last=False)
            self.bytes -= oldest.nbytes


class WindowStream(IterableDataset):
    """This rank's batches of random windows, without end, from global batch ``start_batch`` on.

    batch_size: windows a batch on this rank, so G is batch_size * world_size.
    cache_mb: memory for decoded clips, divided among this rank's workers.
    Batches also carry ``index`` (B,), the samples' places in the stream: what their noise is drawn from.
    """

    def __init__(
        self,
        shards: FeatureShards,
        *,
        batch_size: int,
        window: int,
        previous: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_batch: int = 0,
        cache_mb: float = 1024,
        shuffle_shards: int = 8,
    ):
        self.shards, self.seed = shards, seed
        self.batch_size, self.window, self.previous = batch_size, window, previous
        self.rank, self.world_size, self.start_batch = rank, world_size, start_batch
        self.cache_mb = cache_mb
        self.order = StreamOrder(shards.sizes, seed, shards.manifest.fingerprint, shuffle_shards)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, total = (worker.id, worker.num_workers) if worker else (0, 1)
        windows: list[Window] = []
        for window in self._windows(number, total):
            windows.append(window)
            if len(windows) == self.batch_size:
                yield collate(windows)
                windows = []

    def _windows(self, worker: int, num_workers: int) -> Iterator[Window]:
        """The windows of this rank and worker, in the stream's order."""
        cache = ClipCache(self.shards, int(self.cache_mb * 2**20 / num_workers))
        statistics = self.shards.manifest.statistics
        global_batch = self.batch_size * self.world_size
        skip = self.start_batch * global_batch
        for epoch in count(skip // self.order.epoch_length):
            for first, block in self.order.blocks(epoch):
                numbered = [
                    (n, ref)
                    for n, ref in enumerate(block, start=first)
                    if n >= skip
                    and (n % global_batch) // self.batch_size == self.rank
                    and (n // global_batch - self.start_batch) % num_workers == worker
                ]
                clips = cache.load([ref for _, ref in numbered])
                for n, ref in numbered:
                    clip = clips[ref]
                    start = random_start(self.seed, epoch, clip.key, clip.num_frames, self.window)
                    yield cut_window(clip, start, self.window, self.previous, statistics) | {"index": n}


class TiledWindows(IterableDataset):
    """Every window of a split laid end to end, in order, at most ``limit``; the same on every rank."""

    def __init__(self, shards: FeatureShards, *, batch_size: int, window: int, previous: int, limit: int | None = None):
        self.shards, self.batch_size, self.limit = shards, batch_size, limit
        self.window, self.previous = window, previous

    def __iter__(self) -> Iterator[Batch]:
        windows: list[Window] = []
        for window in self._windows():
            windows.append(window)
            if len(windows) == self.batch_size:
                yield collate(windows)
                windows = []
        if windows:
            yield collate(windows)

    def _windows(self) -> Iterator[Window]:
        made = 0
        for clip in self.shards:
            for start in tiled_starts(clip.num_frames, self.window):
                if made == self.limit:
                    return
                window = cut_window(clip, start, self.window, self.previous, self.shards.manifest.statistics)
                yield window | {"index": made}
                made += 1
