"""The order of the training stream, whoever reads it."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from data_support import Place, joined, stream, take
from torch.utils.data import DataLoader

from moda.data.shards import FeatureShards
from moda.data.stream import ClipCache, StreamOrder

G = 8  # windows an optimizer step


def references(order: StreamOrder, epoch: int) -> list[tuple[int, int]]:
    length = order.epoch_length
    blocks = order.blocks(epoch * length)
    return list(islice((ref for block in blocks for ref in block.references), length))


def steps(dataset: Path, count: int, *, world_size=1, accumulate=1, num_workers=0, start=0) -> list[list[Place]]:
    """The places of ``count`` optimizer steps, put together from all ranks and their micro-batches."""
    micro = G // (world_size * accumulate)
    ranks = []
    for rank in range(world_size):
        share = {"micro_batch": micro, "rank": rank, "world_size": world_size, "start_sample": start}
        loader = DataLoader(stream(dataset, **share), batch_size=None, num_workers=num_workers)
        ranks.append(take(loader, count * accumulate))
    runs = [joined(parts) for parts in zip(*ranks, strict=True)]
    return [joined(runs[at : at + accumulate]) for at in range(0, len(runs), accumulate)]


def test_an_epoch_visits_every_clip_once_in_an_order_of_its_own() -> None:
    order = StreamOrder((3, 2, 4, 1), seed=0, fingerprint="x", shuffle_shards=2)
    everything = [(shard, at) for shard, size in enumerate(order.sizes) for at in range(size)]
    first, second = references(order, 0), references(order, 1)
    assert sorted(first) == sorted(second) == everything
    assert first != second
    assert first == references(StreamOrder((3, 2, 4, 1), 0, "x", 2), 0)
    assert first != references(StreamOrder((3, 2, 4, 1), 0, "other data", 2), 0)


def test_blocks_before_the_start_are_passed_over() -> None:
    order = StreamOrder((3, 2, 4, 1), seed=0, fingerprint="x", shuffle_shards=2)
    whole = list(islice(order.blocks(), 6))  # three epochs of two blocks
    for start in range(2 * order.epoch_length):
        block = next(order.blocks(start))
        assert block.first <= start < block.end
        assert block in whole


def test_each_clip_comes_equally_often(tiny_dataset: Path) -> None:
    seen = Counter(key for batch in take(stream(tiny_dataset), 6) for _, key, _ in batch)
    assert set(seen.values()) == {4}  # 24 samples of 6 clips


@pytest.mark.parametrize("start", [0, 1, 5, 24, 47])  # the epoch has 6 samples
@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (1, 4), (2, 2), (4, 2), (8, 1)])
def test_the_global_batches_are_the_same_for_every_layout(tiny_dataset, world_size, accumulate, start) -> None:
    whole = take(stream(tiny_dataset, micro_batch=1), start + 4 * G)
    expected = [joined(whole[at : at + G]) for at in range(start, start + 4 * G, G)]
    assert steps(tiny_dataset, 4, world_size=world_size, accumulate=accumulate, start=start) == expected


def test_the_global_batches_are_the_same_for_every_number_of_workers(tiny_dataset: Path) -> None:
    expected = steps(tiny_dataset, 3, start=11)
    assert steps(tiny_dataset, 3, start=11, num_workers=3, accumulate=2) == expected
    assert steps(tiny_dataset, 3, start=11, num_workers=1, world_size=2) == expected


def test_a_run_goes_on_in_another_layout_where_it_was_left(tiny_dataset: Path) -> None:
    whole = steps(tiny_dataset, 9)
    parts = steps(tiny_dataset, 3, world_size=4)
    parts += steps(tiny_dataset, 4, world_size=2, accumulate=2, start=3 * G)
    parts += steps(tiny_dataset, 2, accumulate=4, start=7 * G)
    assert parts == whole


def test_the_batches_do_not_depend_on_the_cache(tiny_dataset: Path) -> None:
    without = stream(tiny_dataset, cache_mb=0, shuffle_shards=1)
    assert take(without, 8) == take(stream(tiny_dataset, shuffle_shards=1), 8)


def test_a_rank_reads_its_own_samples_and_no_others(tiny_dataset: Path, monkeypatch) -> None:
    read: list[str] = []
    load = FeatureShards.load

    def counted(self: FeatureShards, shard: int, position: int):
        clip = load(self, shard, position)
        read.append(clip.key)
        return clip

    monkeypatch.setattr(FeatureShards, "load", counted)
    batches = take(stream(tiny_dataset, micro_batch=1, rank=1, world_size=3, cache_mb=0), 5)
    assert read == [key for batch in batches for _, key, _ in batch]


def test_the_cache_keeps_to_its_limit_and_reads_once_what_fits(tiny_dataset: Path, monkeypatch) -> None:
    shards = FeatureShards(tiny_dataset, "train")
    read: list[tuple[int, int]] = []
    load = FeatureShards.load
    monkeypatch.setattr(FeatureShards, "load", lambda self, *ref: (read.append(ref), load(self, *ref))[1])
    everything = [(shard, at) for shard, size in enumerate(shards.sizes) for at in range(size)]
    roomy = ClipCache(shards, 2**30)
    for ref in [everything[0], *everything, *everything]:
        roomy.load(ref)
    assert read == everything
    one = roomy.load(everything[0]).nbytes
    tight = ClipCache(shards, 2 * one)
    for ref in everything:
        tight.load(ref)
        assert 0 < tight.bytes <= 2 * one


def test_the_place_in_the_stream_comes_with_each_sample(tiny_dataset: Path) -> None:
    indices = [batch["index"].tolist() for batch in islice(iter(stream(tiny_dataset, start_sample=3)), 2)]
    assert indices == [[3, 4, 5, 6], [7, 8, 9, 10]]
