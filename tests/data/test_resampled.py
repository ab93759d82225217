"""The stream with replacement: which promises it keeps."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import rewrite, spoil_all, take

from moda.data.resampled import ResampledStream
from moda.data.shards import CorruptSampleError, FeatureShards, refuse
from moda.data.share import Share
from moda.errors import UserError


def resampled(dataset: Path, share: Share, *, on_corrupt=refuse, **settings: Any) -> ResampledStream:
    shards = FeatureShards(dataset, "train", on_corrupt=on_corrupt)
    return ResampledStream(shards, share, window=16, previous=2, **{"seed": 0, "shuffle_clips": 4, **settings})


def keys(batches) -> list[str]:
    return [key for batch in batches for _, key, _ in batch]


def test_every_clip_comes_about_equally_often(tiny_dataset: Path) -> None:
    count = 1500
    seen = Counter(keys(take(resampled(tiny_dataset, Share(5)), count // 5)))
    assert len(seen) == 6
    expected = count / 6  # shards come in pairs of clips: the spread is that of half as many draws
    assert all(abs(number - expected) < 5 * np.sqrt(2 * expected) for number in seen.values())


def test_the_places_of_ranks_do_not_meet(tiny_dataset: Path) -> None:
    seen = [
        place
        for rank in range(3)
        for batch in take(resampled(tiny_dataset, Share(4, rank, 3, start_sample=24)), 5)
        for place, _, _ in batch
    ]
    assert sorted(seen) == list(range(24, 24 + 3 * 4 * 5))


def test_ranks_and_restarts_draw_anew_and_the_same_reader_the_same(tiny_dataset: Path) -> None:
    def drawn(**share: int) -> list[tuple[str, int]]:
        batches = take(resampled(tiny_dataset, Share(4, **share)), 8)
        return [(key, start) for batch in batches for _, key, start in batch]

    first = drawn()
    assert drawn() == first
    others = [drawn(rank=1, world_size=2), drawn(start_sample=32), drawn(start_sample=64)]
    assert all(other != first for other in others)
    assert len({tuple(other) for other in others}) == 3
    assert take(resampled(tiny_dataset, Share(4), seed=1), 8) != take(resampled(tiny_dataset, Share(4)), 8)


def test_batches_have_what_the_ordered_stream_has(tiny_dataset: Path) -> None:
    batch = next(iter(resampled(tiny_dataset, Share(4))))
    assert batch["motion"].shape == (4, 18, 59) and batch["audio"].shape == (4, 16, 1, 6)
    assert batch["index"].tolist() == [0, 1, 2, 3] and batch["skipped"] == 0


def test_bad_samples_are_left_out_and_too_many_end_the_run(make_dataset) -> None:
    root = make_dataset()
    heard: list[CorruptSampleError] = []
    rewrite(root, spoil_all, 0)
    batches = list(islice(iter(resampled(root, Share(4), on_corrupt=heard.append)), 20))
    assert not {"ann_000", "ann_001"} & {key for batch in batches for key in batch["key"]}
    assert 0 < sum(batch["skipped"] for batch in batches) <= len(heard)
    for shard in (1, 2):
        rewrite(root, spoil_all, shard)
    with pytest.raises(UserError, match="100 bad samples in a row.*audio.npy cannot be read"):
        take(resampled(root, Share(4), on_corrupt=heard.append), 1)
    with pytest.raises(CorruptSampleError, match="features-00000"):
        take(resampled(root, Share(4)), 1)
