"""The other training stream: webdataset's, which draws shards with replacement and reads each from end to end.

Reads are sequential, which object stores and network file systems serve best. In exchange nothing is
promised about the order: clips come equally often only on average, another number of ranks or workers gets
other batches, and a run that is started again goes on with fresh draws.
"""

import random
from collections.abc import Iterable, Iterator

from torch.utils.data import IterableDataset
from webdataset import filters
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import ResampledShards

from moda.data.bad_samples import BadSamples
from moda.data.decode import Clip
from moda.data.shards import CorruptSampleError, FeatureShards
from moda.data.share import Share, this_worker
from moda.data.windows import Batch, Window, collate, cut_window, hashed_seed, random_start


class ResampledStream(IterableDataset):
    """A rank's micro-batches of random windows, without end, in no promised order.

    shuffle_clips: clips each reader holds and draws from. The seed of a reader depends on the places it
    starts from, so that a resumed run does not repeat what it has seen. ``index`` and ``skipped`` are as in
    ``WindowStream``: no two ranks get the same place. Bad samples are left out and told to
    ``shards.on_corrupt``; UserError after ``max_bad_in_a_row`` of them.
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
        shuffle_clips: int = 1000,
        max_bad_in_a_row: int = 100,
    ):
        self.shards, self.share, self.seed = shards, share, seed
        self.window, self.previous, self.reference_scale = window, previous, reference_scale
        self.shuffle_clips, self.max_bad_in_a_row = shuffle_clips, max_bad_in_a_row

    def __iter__(self) -> Iterator[Batch]:
        worker, num_workers = this_worker()
        share, manifest = self.share, self.shards.manifest
        seed = hashed_seed("resampled", self.seed, manifest.fingerprint, share.rank, worker, share.start_sample)
        bad = BadSamples(self.shards.on_corrupt, self.max_bad_in_a_row)
        clips = iter(self._clips(seed, bad))
        for places in share.batches(worker, num_workers):
            windows: list[Window] = []
            for place in places:
                clip = next(clips)
                start = random_start(seed, place, clip.key, clip.num_frames, self.window)
                window = cut_window(clip, start, self.window, self.previous, manifest.statistics, self.reference_scale)
                windows.append(window | {"index": place})
            yield collate(windows) | {"skipped": bad.take()}

    def _clips(self, seed: int, bad: BadSamples) -> Iterable[Clip]:
        shards = self.shards
        numbers = {shard.features: number for number, shard in enumerate(shards.shards)}

        def references(sources: Iterable[dict[str, str]]) -> Iterator[tuple[int, int]]:
            for source in sources:
                number = numbers[source["url"]]
                yield from ((number, position) for position in range(len(shards.index(number))))

        def load(reference: tuple[int, int]) -> Clip:
            clip = shards.load(*reference)
            bad.keep()
            return clip

        def skip(error: Exception) -> bool:
            if not isinstance(error, CorruptSampleError):
                raise error
            bad.skip(error)
            return True

        return DataPipeline(
            ResampledShards(list(numbers), seed=seed, deterministic=True, worker_seed=lambda: 0),
            references,
            filters.map(load, handler=skip),
            filters.shuffle(self.shuffle_clips, initial=max(self.shuffle_clips // 10, 1), rng=random.Random(seed)),
        )
