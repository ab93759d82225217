"""The endless training stream, whose order depends on nothing but the data and the seed.

Sample ``n`` of the stream is a pure function of (seed, data set fingerprint, n), so a run goes on at any
sample by starting there. ``Share`` says which samples a rank and worker read; they seek to these and read
no others.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from torch.utils.data import IterableDataset

from moda.data.bad_samples import BadSamples
from moda.data.decode import Clip
from moda.data.shards import CorruptSampleError, FeatureShards
from moda.data.share import Share, this_worker
from moda.data.windows import Batch, Window, collate, cut_window, hashed_seed, random_start, tiled_starts
from moda.errors import UserError

Reference = tuple[int, int]  # (shard, position in it)


@dataclass(frozen=True)
class Block:
    """Consecutive samples of the stream, all out of a few shards. first: place of the first of them."""

    epoch: int
    first: int
    references: list[Reference]

    @property
    def end(self) -> int:
        return self.first + len(self.references)


@dataclass(frozen=True)
class StreamOrder:
    """In which order the clips are visited.

    Each epoch permutes the shards, takes ``shuffle_shards`` of them at a time and permutes the clips
    inside such a block: what is read at one time lies in a few files.
    """

    sizes: tuple[int, ...]
    seed: int
    fingerprint: str
    shuffle_shards: int = 8

    @property
    def epoch_length(self) -> int:
        return sum(self.sizes)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """The blocks from the one that holds place ``start`` on, without end."""
        for epoch in count(start // self.epoch_length):
            rng = np.random.default_rng(hashed_seed("order", self.seed, self.fingerprint, epoch))
            shards = rng.permutation(len(self.sizes))
            first = epoch * self.epoch_length
            for at in range(0, len(shards), self.shuffle_shards):
                chosen = [int(shard) for shard in shards[at : at + self.shuffle_shards]]
                visit = rng.permutation(sum(self.sizes[shard] for shard in chosen))
                if first + len(visit) > start:  # shards before it are passed over without a look
                    clips = [(shard, position) for shard in chosen for position in range(self.sizes[shard])]
                    yield Block(epoch, first, [clips[i] for i in visit])
                first += len(visit)


class ClipCache:
    """Decoded clips, least recently used out first, up to ``limit`` bytes."""

    def __init__(self, shards: FeatureShards, limit: int):
        self.shards = shards
        self.limit = limit
        self.bytes = 0
        self.clips: OrderedDict[Reference, Clip] = OrderedDict()

    def load(self, reference: Reference) -> Clip:
        """The clip, out of memory or its shard. Raises CorruptSampleError."""
        if reference in self.clips:
            self.clips.move_to_end(reference)
            return self.clips[reference]
        clip = self.shards.load(*reference)
        self.clips[reference] = clip
        self.bytes += clip.nbytes
        while self.bytes > self.limit:
            _, oldest = self.clips.popitem(last=False)
            self.bytes -= oldest.nbytes
        return clip


class WindowStream(IterableDataset):
    """A rank's micro-batches of random windows, without end, in the order of ``StreamOrder``.

    cache_mb: memory for decoded clips, divided among this rank's workers.
    Batches also carry ``index`` (B,), the samples' places in the stream (what their noise is drawn from),
    and ``skipped``, how many bad samples were passed over for this batch. The place of a bad sample is
    taken by another clip of its block, which one being a function of the place alone. What is bad is told
    to ``shards.on_corrupt``; UserError after ``max_bad_in_a_row`` of them.
    """

    def __init__(
        self,
        shards: FeatureShards,
        share: Share,
        *,
        window: int,
        previous: int,
        seed: int,
        reference_scale: bool = False,
        cache_mb: float = 1024,
        shuffle_shards: int = 8,
        max_bad_in_a_row: int = 100,
    ):
        self.shards, self.share, self.seed = shards, share, seed
        self.window, self.previous, self.reference_scale = window, previous, reference_scale
        self.cache_mb, self.max_bad_in_a_row = cache_mb, max_bad_in_a_row
        self.order = StreamOrder(shards.sizes, seed, shards.manifest.fingerprint, shuffle_shards)

    def __iter__(self) -> Iterator[Batch]:
        worker, num_workers = this_worker()
        cache = ClipCache(self.shards, int(self.cache_mb * 2**20 / num_workers))
        bad = BadSamples(self.shards.on_corrupt, self.max_bad_in_a_row)
        blocks = self.order.blocks(self.share.start_sample)
        block = next(blocks)
        for places in self.share.batches(worker, num_workers):
            windows: list[Window] = []
            for place in places:
                while place >= block.end:
                    block = next(blocks)
                clip = self._clip(place, block, cache, bad)
                windows.append(self._window(clip, block.epoch) | {"index": place})
            yield collate(windows) | {"skipped": bad.take()}

    def _clip(self, place: int, block: Block, cache: ClipCache, bad: BadSamples) -> Clip:
        """The clip at ``place`` or, while that is bad, another of the block."""
        reference = block.references[place - block.first]
        for attempt in count():
            try:
                clip = cache.load(reference)
            except CorruptSampleError as error:
                bad.skip(error)
                drawn = hashed_seed("instead", self.seed, self.order.fingerprint, place, attempt)
                reference = block.references[drawn % len(block.references)]
            else:
                bad.keep()
                return clip
        raise AssertionError("unreachable: too many bad samples raise an error")

    def _window(self, clip: Clip, epoch: int) -> Window:
        start = random_start(self.seed, epoch, clip.key, clip.num_frames, self.window)
        statistics = self.shards.manifest.statistics
        return cut_window(clip, start, self.window, self.previous, statistics, self.reference_scale)


class TiledWindows(IterableDataset):
    """Every window of a split laid end to end, in order, at most ``limit``; the same on every rank.

    Bad samples are told to ``shards.on_corrupt`` and left out; UserError if nothing is left.
    """

    def __init__(
        self,
        shards: FeatureShards,
        *,
        batch_size: int,
        window: int,
        previous: int,
        reference_scale: bool = False,
        limit: int | None = None,
    ):
        self.shards, self.batch_size, self.limit = shards, batch_size, limit
        self.window, self.previous, self.reference_scale = window, previous, reference_scale

    def __iter__(self) -> Iterator[Batch]:
        windows: list[Window] = []
        made = 0
        for window in self._windows():
            windows.append(window)
            made += 1
            if len(windows) == self.batch_size:
                yield collate(windows)
                windows = []
        if windows:
            yield collate(windows)
        if not made and self.limit != 0:
            raise UserError(f"no sample of the {self.shards.split} split of {self.shards.root} can be used")

    def _windows(self) -> Iterator[Window]:
        made = 0
        for clip in self.shards:
            for start in tiled_starts(clip.num_frames, self.window):
                if made == self.limit:
                    return
                statistics = self.shards.manifest.statistics
                window = cut_window(clip, start, self.window, self.previous, statistics, self.reference_scale)
                yield window | {"index": made}
                made += 1
