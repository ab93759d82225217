"""What a training makes of bad samples, and of a layout that does not fit the data."""

import json
from pathlib import Path

import pytest

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.training import run


def spoil(root: Path, shard: int, key: str) -> None:
    """Make one clip unreadable; the shard keeps its size."""
    path = root / DatasetManifest.load(root).shards[shard].features
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    at = content.index(f"{key}.motion.npy".encode())
    content[at + 512 : at + 518] = b"broken"  # the magic of the array behind the member's header
    path.write_bytes(content)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_sample_is_logged_skipped_and_counted(configure, make_dataset, tmp_path, capfd, num_workers) -> None:
    root = make_dataset()
    spoil(root, 0, "ann_001")
    run_dir = run.train(configure("motion_vae", "run", f"data.num_workers={num_workers}", dataset=root))
    (line,) = {line for line in (run_dir / "bad_samples.jsonl").read_text().splitlines()}
    value = json.loads(line)
    assert value["key"] == "ann_001" and value["shard"].endswith("train/features-000000.tar")
    assert "skipped a bad sample: " in capfd.readouterr().err
    state = json.loads((run_dir / "checkpoints/step-6/loader-00000.json").read_text())
    assert state["samples_seen"] == 24 and state["bad_samples"] >= 3  # four epochs of six clips


def test_a_layout_that_does_not_fit_is_refused_before_anything_is_written(configure, tmp_path) -> None:
    with pytest.raises(UserError, match=r"1 ranks x 4 readers each need 4 shards.*at most 3"):
        run.train(configure("motion_vae", "run", "data.num_workers=4"))
    with pytest.raises(UserError, match=r"data.batch_size=4 is not divisible by 1 ranks x 3"):
        run.train(configure("motion_vae", "run", "trainer.accumulate_grad_batches=3"))
    assert not (tmp_path / "run").exists()


def test_the_resampled_stream_trains_and_goes_on(configure, tmp_path) -> None:
    settings = ("data=resampled", "data.shuffle_clips=4")
    run.train(configure("motion_vae", "run", *settings, "trainer.max_steps=3"))
    run_dir = run.train(configure("motion_vae", "run", *settings))
    state = json.loads((run_dir / "checkpoints/step-6/loader-00000.json").read_text())
    assert (state["mode"], state["samples_seen"]) == ("resampled", 24)
