"""The data module: settings, where a run starts in the stream, and what it says of itself."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from data_support import joined, places, replaced, rewrite, stream, take

from moda.data.module import ShardDataModule
from moda.data.schema import DatasetManifest
from moda.errors import UserError

SETTINGS = {"window": 16, "previous": 2, "batch_size": 4, "seed": 0}


def module(dataset: Path, *, step=0, rank=0, world_size=1, accumulate=1, **settings: Any) -> Any:
    """A data module of a trainer that has done ``step`` steps."""
    data: Any = ShardDataModule(dataset, **{**SETTINGS, **settings})
    data.trainer = SimpleNamespace(
        global_step=step,
        global_rank=rank,
        world_size=world_size,
        accumulate_grad_batches=accumulate,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def test_validation_is_on_the_val_split_and_the_same_every_time(tiny_dataset: Path) -> None:
    data = ShardDataModule(tiny_dataset, **SETTINGS, val_windows=5)
    first = places(data.val_dataloader())
    assert [len(batch) for batch in first] == [5]
    assert first == places(data.val_dataloader())
    other = module(tiny_dataset, batch_size=2, val_windows=5, rank=1, world_size=2)
    assert first == places(other.val_dataloader())
    assert {key.partition("_")[0] for batch in first for _, key, _ in batch} == {"cid"}


def test_without_a_val_split_the_warning_says_what_the_numbers_are(make_dataset) -> None:
    root = make_dataset(speakers={"train": ("ann",)})
    with pytest.warns(UserWarning, match="no val split.*training clips"):
        data = ShardDataModule(root, **SETTINGS)
    assert len(list(data.val_dataloader())) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0: must be at least 1"),
        ({"num_workers": -1}, "data.num_workers=-1: must be at least 0"),
        ({"max_bad_in_a_row": 0}, "data.max_bad_in_a_row=0"),
        ({"shuffle_shards": 0}, "data.shuffle_shards=0"),
        ({"mode": "random"}, "data.mode=random: must be one of ordered, resampled"),
        ({"shuffle_clips": 10}, "data.shuffle_clips does nothing with data.mode=ordered"),
        ({"mode": "resampled", "cache_mb": 10}, "data.cache_mb does nothing with data.mode=resampled"),
        ({"prefetch_factor": 2}, "data.prefetch_factor does nothing with data.num_workers=0"),
        ({"prefetch_factor": 0, "num_workers": 1}, "data.prefetch_factor=0"),
    ],
)
def test_settings_that_cannot_work_are_named(tiny_dataset: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ShardDataModule(tiny_dataset, **{**SETTINGS, **settings})


def test_a_shard_with_too_few_samples_is_found_before_training(make_dataset) -> None:
    for shard, split in ((1, "train"), (3, "val")):
        root = make_dataset(split)
        rewrite(root, lambda members: members[4:], shard)
        with pytest.raises(UserError, match=f"{split}/features-.*holds 1 samples, dataset.json says 2"):
            ShardDataModule(root, **SETTINGS)


def test_a_train_split_without_samples_is_refused(make_dataset) -> None:
    root = make_dataset()
    for shard in range(3):
        path = rewrite(root, lambda _: [], shard)
        manifest = DatasetManifest.load(root)
        shards = [replace(s, num_samples=0) if root / s.features == path else s for s in manifest.shards]
        replace(manifest, shards=tuple(shards)).save(root)
    with pytest.raises(UserError, match="the train split of .* holds no sample"):
        ShardDataModule(root, **SETTINGS)


def test_ranks_and_readers_that_do_not_fit_are_named(tiny_dataset: Path) -> None:
    data = ShardDataModule(tiny_dataset, **SETTINGS, num_workers=2)
    with pytest.raises(UserError, match="2 ranks x 2 readers each need 4 shards, but the train split has 3"):
        data.micro_batch(world_size=2)
    with pytest.raises(UserError, match=r"data.batch_size=4 is not divisible by 1 ranks x 3"):
        data.micro_batch(world_size=1, accumulate=3)
    assert data.micro_batch(world_size=1, accumulate=2) == 2
    assert ShardDataModule(tiny_dataset, **SETTINGS, num_workers=2, mode="resampled").micro_batch(world_size=4) == 1


@pytest.mark.parametrize("mode", ["ordered", "resampled"])
def test_ranks_read_their_part_of_the_batch_from_the_trainers_step_on(tiny_dataset: Path, mode: str) -> None:
    layout = {"world_size": 2, "accumulate": 2, "batch_size": 8, "mode": mode}
    ranks = [take(module(tiny_dataset, step=3, rank=rank, **layout).train_dataloader(), 4) for rank in (0, 1)]
    assert {len(batch) for rank in ranks for batch in rank} == {2}
    together = [joined(parts) for parts in zip(*ranks, strict=True)]
    assert [place for place, _, _ in joined(together)] == list(range(24, 40))  # two steps from sample 3 x 8 on
    if mode == "ordered":
        assert joined(together) == joined(take(stream(tiny_dataset, micro_batch=8), 5)[3:])


def test_a_run_goes_on_from_the_state_of_another_layout(tiny_dataset: Path) -> None:
    before = module(tiny_dataset, step=3, rank=1, world_size=2)
    state = json.loads(json.dumps(before.rank_state()))
    assert (state["samples_seen"], state["step"], state["rank"], state["world_size"]) == (12, 3, 1, 2)
    after = module(tiny_dataset, step=3, accumulate=4)
    after.load_rank_states([state])
    assert joined(take(after.train_dataloader(), 8)) == joined(take(stream(tiny_dataset), 5)[3:])
    assert after.rank_state()["samples_seen"] == 12
    early = module(tiny_dataset)  # the trainer's step is not restored yet
    early.load_rank_states([state])
    assert early.samples_seen == 12
    early.trainer.global_step = 5
    assert early.samples_seen == 20


def test_the_state_counts_steps_and_not_what_was_read_ahead(tiny_dataset: Path) -> None:
    data = module(tiny_dataset)
    batches = iter(data.train_dataloader())
    for _ in range(5):
        next(batches)
    assert data.rank_state()["samples_seen"] == 0
    data.trainer.global_step = 2
    assert data.rank_state()["samples_seen"] == 8


def test_a_state_of_other_data_or_another_seed_is_refused(tiny_dataset: Path) -> None:
    state = module(tiny_dataset).rank_state()
    with pytest.raises(UserError, match=r"seed 1, this is 0.*start another run"):
        module(tiny_dataset).load_rank_states([state | {"seed": 1}])
    with pytest.raises(UserError, match="dataset other"):
        module(tiny_dataset).load_rank_states([state | {"dataset": "other"}])
    with pytest.raises(UserError, match=r"loader state cannot be read \(KeyError\('step'\)\)"):
        module(tiny_dataset).load_rank_states([{"samples_seen": 3}])


class Consumer(L.LightningModule):
    """Takes batches and remembers their places."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.places: list[int] = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        assert "skipped" not in batch
        self.places += batch["index"].tolist()
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_in_a_trainer_consumed_samples_and_skips_are_counted_and_prefetched_ones_not(
    make_dataset, num_workers: int
) -> None:
    root = make_dataset()
    rewrite(root, replaced("audio.npy", b"broken"))
    heard: list[str] = []
    data = ShardDataModule(root, **SETTINGS, num_workers=num_workers, report=lambda error: heard.append(error.key))
    model = Consumer()
    trainer = L.Trainer(
        max_steps=5,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(model, data)
    state = data.rank_state()
    assert model.places == list(range(20))
    assert (state["samples_seen"], state["step"]) == (20, 5)
    expected = islice(iter(stream(root, on_corrupt=lambda _: None, micro_batch=2)), 10)
    assert state["bad_samples"] == sum(batch["skipped"] for batch in expected) > 0
    if num_workers == 0:
        assert set(heard) == {"ann_000"}
    again = module(root)
    again.load_rank_states([state])
    assert again.rank_state()["bad_samples"] == state["bad_samples"]
    other_rank = module(root, rank=1, world_size=2)
    other_rank.load_rank_states([state])
    assert other_rank.rank_state()["bad_samples"] == 0  # rank 0 has counted them
    of_four = [state | {"rank": rank, "bad_samples": 10**rank} for rank in range(4)]
    of_two = [module(root, rank=rank, world_size=2) for rank in range(2)]
    for rank in of_two:
        rank.load_rank_states(of_four)
    assert [rank.bad_samples for rank in of_two] == [101, 1010]  # none is lost with fewer ranks


def test_the_manifest_given_is_the_one_used(tiny_dataset: Path) -> None:
    manifest = replace(DatasetManifest.load(tiny_dataset), fingerprint="another")
    data = ShardDataModule(tiny_dataset, **SETTINGS, manifest=manifest)
    assert data.rank_state()["dataset"] == "another"
