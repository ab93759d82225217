"""Samples that cannot be used: skipped in the same way by every reader, reported, counted, fatal in numbers."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from data_support import joined, npy, places, replaced, rewrite, spoil_all, stream, take
from torch.utils.data import DataLoader

from moda.data.bad_samples import BadSampleLog
from moda.data.module import ShardDataModule
from moda.data.shards import CorruptSampleError
from moda.errors import UserError


@pytest.fixture
def spoiled(make_dataset) -> Path:
    """Three train shards of two clips; ann_000 holds NaN, ann_002 has no identity."""
    root = make_dataset()
    rewrite(root, replaced("motion.npy", npy(np.full((60, 59), np.nan, np.float32))))
    rewrite(root, lambda members: [m for m in members if m[0] != "ann_002.identity.npy"], shard=1)
    return root


def ignore(_: CorruptSampleError) -> None:
    pass


def test_a_bad_sample_is_replaced_by_another_of_its_block(spoiled: Path) -> None:
    batches = take(stream(spoiled, on_corrupt=ignore, micro_batch=6, shuffle_shards=3), 4)  # an epoch, a block each
    for batch in batches:
        keys = [key for _, key, _ in batch]
        assert set(keys) == {"ann_001", "bob_000", "bob_001", "bob_002"}


@pytest.mark.parametrize(("world_size", "num_workers"), [(2, 0), (4, 0), (1, 2), (2, 2)])
def test_the_order_with_bad_samples_is_the_same_for_every_layout(spoiled, world_size, num_workers) -> None:
    settings = {"on_corrupt": ignore, "shuffle_shards": 2}
    whole = take(stream(spoiled, micro_batch=8, **settings), 6)
    ranks = [
        take(
            DataLoader(
                stream(spoiled, micro_batch=8 // world_size, rank=rank, world_size=world_size, **settings),
                batch_size=None,
                num_workers=num_workers,
            ),
            6,
        )
        for rank in range(world_size)
    ]
    assert [joined(parts) for parts in zip(*ranks, strict=True)] == whole
    assert take(stream(spoiled, micro_batch=8, start_sample=16, **settings), 4) == whole[2:]


def test_what_is_skipped_is_counted_with_the_batch(spoiled: Path) -> None:
    batches = list(islice(iter(stream(spoiled, on_corrupt=ignore, micro_batch=6)), 50))
    skipped = sum(batch["skipped"] for batch in batches)
    assert all(len(batch["index"]) == 6 for batch in batches)
    assert skipped >= 100  # each of the two once an epoch, and when one was drawn in place of the other
    assert skipped < 250


def test_without_a_policy_a_bad_sample_stops(spoiled: Path) -> None:
    with pytest.raises(CorruptSampleError, match=r"features-00000[01].tar, sample 'ann_00[02]'"):
        take(stream(spoiled), 2)


def test_too_many_in_a_row_end_the_run_and_the_last_is_named(make_dataset) -> None:
    root = make_dataset()
    for shard in range(3):
        rewrite(root, spoil_all, shard)
    heard: list[CorruptSampleError] = []
    message = "100 bad samples in a row .*features-00000.*audio.npy cannot be read.*moda lint DATASET"
    with pytest.raises(UserError, match=message) as caught:
        take(stream(root, on_corrupt=heard.append), 1)
    assert len(heard) == 100 and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="7 bad samples in a row"):
        take(stream(root, on_corrupt=ignore, max_bad_in_a_row=7), 1)


def test_a_good_sample_begins_a_new_row(make_dataset) -> None:
    root = make_dataset(clips=6)  # six train shards of two clips
    for shard in range(5):
        rewrite(root, spoil_all, shard)
    batches = list(islice(iter(stream(root, on_corrupt=ignore, max_bad_in_a_row=100)), 50))
    assert sum(batch["skipped"] for batch in batches) > 200


def test_the_log_has_one_line_for_each_bad_sample(spoiled: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "bad_samples.jsonl"
    log = BadSampleLog(path)
    assert not path.exists()
    take(stream(spoiled, on_corrupt=log), 12)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == ["ann_000", "ann_002"]
    assert {Path(line["shard"]).name for line in lines} == {"features-000000.tar", "features-000001.tar"}
    assert {line["reason"] for line in lines} == {"motion.npy holds NaN or infinity", "no member identity.npy"} or any(
        "expected floating point" in line["reason"] for line in lines
    )
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2 and all(line.startswith("skipped a bad sample: ") for line in shown)


def test_reader_processes_write_to_the_log_too(spoiled: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad_samples.jsonl"
    loader = DataLoader(stream(spoiled, on_corrupt=BadSampleLog(path)), batch_size=None, num_workers=2)
    assert len(take(loader, 6)) == 6
    assert {json.loads(line)["key"] for line in path.read_text().splitlines()} == {"ann_000", "ann_002"}


def test_a_log_that_cannot_be_written_is_one_clear_line(spoiled: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*nowhere/bad_samples.jsonl: No such file"):
        take(stream(spoiled, on_corrupt=BadSampleLog(tmp_path / "nowhere/bad_samples.jsonl")), 4)


def test_validation_leaves_bad_samples_out_and_needs_a_good_one(make_dataset, capsys) -> None:
    root = make_dataset()
    first_of_val = 3  # behind three train shards
    rewrite(root, replaced("audio.npy", b"broken"), first_of_val)
    settings = {"window": 16, "previous": 1, "batch_size": 4, "seed": 0}
    data = ShardDataModule(root, **settings)
    keys = {key for batch in places(data.val_dataloader()) for _, key, _ in batch}
    assert keys == {"cid_001", "cid_002"}
    assert "skipped a bad sample" in capsys.readouterr().err
    for shard in (3, 4):
        rewrite(root, spoil_all, shard)
    with pytest.raises(UserError, match="no sample of the val split .* can be used"):
        list(ShardDataModule(root, **settings).val_dataloader())
