from collections import Counter
from itertools import islice
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from moda.data.module import ShardDataModule
from moda.data.shards import FeatureShards
from moda.data.stream import ClipCache, StreamOrder, WindowStream
from moda.errors import UserError

Place = tuple[int, str, int]


def stream(dataset: Path, **settings) -> WindowStream:
    shards = FeatureShards(dataset, "train")
    return WindowStream(shards, **{"batch_size": 4, "window": 16, "previous": 2, "seed": 0, **settings})


def places(batches) -> list[list[Place]]:
    return [list(zip(batch["index"].tolist(), batch["key"], batch["start"].tolist(), strict=True)) for batch in batches]


def take(source, count: int) -> list[list[Place]]:
    return places(islice(iter(source), count))


def test_an_epoch_visits_every_clip_once_in_an_order_of_its_own() -> None:
    order = StreamOrder((3, 2, 4, 1), seed=0, fingerprint="x", shuffle_shards=2)
    epochs = [[ref for _, block in order.blocks(epoch) for ref in block] for epoch in (0, 1)]
    everything = [(shard, at) for shard, size in enumerate(order.sizes) for at in range(size)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
    assert epochs[0] != epochs[1]
    assert list(order.blocks(1)) == list(StreamOrder((3, 2, 4, 1), 0, "x", 2).blocks(1))
    assert list(order.blocks(0)) != list(StreamOrder((3, 2, 4, 1), 0, "other data", 2).blocks(0))
    assert next(order.blocks(1))[0] == order.epoch_length


def test_each_clip_comes_equally_often(tiny_dataset: Path) -> None:
    seen = Counter(key for batch in take(stream(tiny_dataset), 6) for _, key, _ in batch)
    assert set(seen.values()) == {4}  # 24 samples of 6 clips


@pytest.mark.parametrize("world_size", [2, 4])
def test_global_batches_do_not_depend_on_the_number_of_ranks(tiny_dataset: Path, world_size: int) -> None:
    whole = take(stream(tiny_dataset, batch_size=8), 5)
    ranks = [
        take(stream(tiny_dataset, batch_size=8 // world_size, rank=rank, world_size=world_size), 5)
        for rank in range(world_size)
    ]
    assert [[place for part in parts for place in part] for parts in zip(*ranks, strict=True)] == whole


def test_batches_do_not_depend_on_the_number_of_workers(tiny_dataset: Path) -> None:
    loader = DataLoader(stream(tiny_dataset, start_batch=3), batch_size=None, num_workers=2)
    assert take(loader, 5) == take(stream(tiny_dataset), 8)[3:]


@pytest.mark.parametrize("start", [1, 7])
def test_a_stream_started_later_goes_on_as_the_whole_one(tiny_dataset: Path, start: int) -> None:
    assert take(stream(tiny_dataset, start_batch=start), 3) == take(stream(tiny_dataset), start + 3)[start:]


def test_the_batches_do_not_depend_on_the_cache(tiny_dataset: Path) -> None:
    assert take(stream(tiny_dataset, cache_mb=0.01, shuffle_shards=1), 8) == take(
        stream(tiny_dataset, shuffle_shards=1), 8
    )


def test_the_cache_keeps_to_its_limit_and_reads_once_what_fits(tiny_dataset: Path, monkeypatch) -> None:
    shards = FeatureShards(tiny_dataset, "train")
    reads: list[int] = []
    read = FeatureShards.read
    monkeypatch.setattr(
        FeatureShards, "read", lambda self, index, *rest: (reads.append(index), read(self, index, *rest))[1]
    )
    everything = [(shard, at) for shard, size in enumerate(shards.sizes) for at in range(size)]
    roomy = ClipCache(shards, 2**30)
    roomy.load(everything[:1])
    roomy.load(everything)
    assert sorted(reads) == [0, 1, 2]
    one = next(iter(shards)).nbytes
    tight = ClipCache(shards, 2 * one)
    assert set(tight.load(everything)) == set(everything)
    assert tight.bytes <= 2 * one


def test_the_data_module_validates_on_the_val_split_the_same_every_time(tiny_dataset: Path) -> None:
    data = ShardDataModule(tiny_dataset, window=16, previous=1, batch_size=4, seed=0, val_windows=5)
    first = places(data.val_dataloader())
    assert [len(batch) for batch in first] == [5]
    assert first == places(
        ShardDataModule(tiny_dataset, window=16, previous=1, batch_size=2, seed=0, val_windows=5).val_dataloader()
    )
    assert first == places(data.val_dataloader())
    assert {key.partition("_")[0] for batch in first for _, key, _ in batch} == {"cid"}


def test_without_a_val_split_the_warning_says_what_the_numbers_are(make_dataset) -> None:
    root = make_dataset(speakers={"train": ("ann",)})
    with pytest.warns(UserWarning, match="no val split.*training clips"):
        data = ShardDataModule(root, window=16, previous=1, batch_size=2, seed=0)
    assert len(list(data.val_dataloader())) > 0


def test_settings_that_cannot_work_are_named(tiny_dataset: Path) -> None:
    with pytest.raises(UserError, match="data.batch_size=0"):
        ShardDataModule(tiny_dataset, window=16, previous=1, batch_size=0, seed=0)


def test_the_data_module_starts_at_the_trainers_step(tiny_dataset: Path) -> None:
    data = ShardDataModule(tiny_dataset, window=16, previous=2, batch_size=4, seed=0)
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, accumulate_grad_batches=2
    )
    data.trainer = trainer
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 3
    assert trainer.global_step == 3
    assert take(data.train_dataloader(), 2) == take(stream(tiny_dataset), 8)[6:]
    assert isinstance(next(iter(data.train_dataloader()))["motion"], torch.Tensor)
