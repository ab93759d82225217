"""A SyncNet trains, resumes exactly and is read as the evaluation reads it. Crops are drawn, not detected."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from moda.cli.hydra_app import compose
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.errors import UserError
from moda.eval.networks import SyncNet
from moda.generation.video import VideoWriter
from moda.training.checkpoints.consolidate import weights_of
from moda.training.run import train
from moda.training.sync_crops import SyncCrops

SETTINGS = (
    "experiment=syncnet", "data.window=16", "data.batch_size=2", "data.val_windows=2", "task.module.windows=2",
    "trainer.max_steps=3", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1", "checkpoint.every=1",
    "optimizer.warmup_steps=0", "logger=none",
)  # fmt: skip


def write_crops(folder: Path, dataset: Path) -> SyncCrops:
    """A store of noise, as if the data set's mouths had been cropped."""
    manifest = DatasetManifest.load(dataset)
    store = SyncCrops(folder, dataset, manifest)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for clip in FeatureShards(dataset, split, manifest):
            with VideoWriter(store.folder / f"{clip.key}.mp4", 224, crf=30) as writer:
                picture = rng.integers(0, 255, (224, 224, 3), np.uint8)
                for t in range(clip.num_frames):
                    writer.write(np.roll(picture, 8 * t, 0))
            np.save(store.folder / f"{clip.key}.npy", rng.normal(0, 999, 640 * clip.num_frames).astype(np.int16))
    return store


def config(dataset: Path, run_dir: Path, crops: Path, *more: str):
    from moda.cli.train import resolve

    return resolve(
        compose("train", [*SETTINGS, f"data.path={dataset}", f"run_dir={run_dir}", f"task.module.crops={crops}", *more])
    )


@pytest.mark.slow
def test_it_trains_and_a_resumed_run_is_the_same(tiny_dataset: Path, tmp_path: Path) -> None:
    write_crops(tmp_path / "crops", tiny_dataset)
    whole = train(config(tiny_dataset, tmp_path / "whole", tmp_path / "crops"))
    parts = tmp_path / "parts"
    train(config(tiny_dataset, parts, tmp_path / "crops"))
    shutil.rmtree(parts / "checkpoints/step-3")
    shutil.rmtree(parts / "export")
    train(config(tiny_dataset, parts, tmp_path / "crops"))
    ours, theirs = (weights_of(run / "checkpoints/step-3", None) for run in (whole, parts))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(theirs[name], value), name
    network = SyncNet.from_pretrained(whole / "export/model.safetensors")
    exported, trained = network.state_dict(), weights_of(whole / "checkpoints/step-3", None)
    means = [name for name in exported if name.endswith("running_mean")]
    assert means and all(torch.equal(exported[name], trained[name]) for name in means)  # of data, not of a new network


def test_a_store_without_faces_says_why(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unusable for sync .*holds no video and sound"):
        SyncCrops(tmp_path, tiny_dataset, DatasetManifest.load(tiny_dataset)).prepare("train")


@pytest.mark.parametrize("more, message", [
    (("task.module.windows=1",), "windows=1 needs"),
    (("data.window=6",), "needs data.window of at least 7"),
    (("preview.every=5",), "makes no motion; give preview.every=0"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(tiny_dataset: Path, tmp_path: Path, more, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(config(tiny_dataset, tmp_path / "run", tmp_path / "crops", *more))
