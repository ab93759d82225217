"""Training on motion of layout liveportrait70, of whose dimensions a third hardly moves.

By default the motion is made: smooth, with the means and deviations of the published statistics. Where
MODA_LIVEPORTRAIT_MOTION names a folder of motion templates, recorded motion is trained on as well.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from training_support import SMALL

from moda.codec.liveportrait import MotionTemplate
from moda.codec.liveportrait.keypoints import lip_aperture
from moda.data.schema import ClipRecord, DatasetManifest
from moda.data.writer import Sample, dataset_fingerprint, write_shard
from moda.interop.export import load_export
from moda.motion import StatisticsAccumulator, get_layout
from moda.training import run
from moda.training.tracking.metrics import read_metrics

LAYOUT = get_layout("liveportrait70")
TEMPLATES = os.environ.get("MODA_LIVEPORTRAIT_MOTION")

# Standard deviations x 1e-5 of the 63 offsets over the corpora of the published model, and mean and deviation of the rest.
OFFSETS = [
    1045, 1420, 5, 563, 600, 0, 593, 1043, 0, 655, 632, 3, 826, 842, 3, 2199, 3296, 2, 107, 221, 0, 736, 622, 3, 96, 81, 1,
    118, 134, 0, 789, 928, 611, 287, 592, 0, 32, 35, 0, 334, 415, 1, 254, 567, 0, 277, 545, 1, 251, 416, 1, 361, 529, 274,
    57, 119, 1, 832, 2144, 513, 524, 1089, 419,
]  # fmt: skip
POSE_MEAN = [1.2865, -0.0133, 0.0999, 0, -2.341, -0.246, -0.327]
POSE_STD = [0.0691, 0.0658, 0.0348, 0, 8.882, 23.855, 5.606]


def made_motion(count: int = 4, frames: int = 120) -> list[np.ndarray]:
    """Clips (T, 70): what six muscles do, smoothly, mixed into all dimensions."""
    rng = np.random.default_rng(0)
    muscles = gaussian_filter1d(rng.normal(size=(count, frames, 6)), 3.0, axis=1)
    noise = muscles @ rng.normal(size=(6, LAYOUT.dim))
    noise /= noise.std((0, 1))
    mean, std = np.array([0.0] * 63 + POSE_MEAN), np.array([x * 1e-5 for x in OFFSETS] + POSE_STD)
    return list((mean + std * noise).astype(np.float32))


def recorded_motion() -> list[np.ndarray]:
    assert TEMPLATES is not None
    paths = sorted(path for path in Path(TEMPLATES).iterdir() if path.suffix in (".npz", ".pkl"))
    return [MotionTemplate.load(path).motion_at() for path in paths]


SOURCES = [
    pytest.param(made_motion, id="made"),
    pytest.param(
        recorded_motion, id="recorded", marks=pytest.mark.skipif(TEMPLATES is None, reason="no recorded motion")
    ),
]


def write_dataset(root: Path, clips: list[np.ndarray]) -> Path:
    """A prepared data set of these clips, the last one held out; what is heard follows the opening of the lips."""
    statistics, shards = StatisticsAccumulator(LAYOUT), []
    for split, part in (("train", clips[:-1]), ("val", clips[-1:])):
        samples = []
        for number, motion in enumerate(part):
            if split == "train":
                statistics.update(motion)
            heard = np.stack([lip_aperture(motion), np.abs(motion[:, LAYOUT.index("expression19X")])], 1)
            record = ClipRecord(
                f"{split}_{number}", split, f"{split}_{number}", "x.mp4", 0.0, len(motion), 25, (64.0, 64.0, 128.0)
            )
            identity = np.random.default_rng(number).normal(size=63)
            samples.append(Sample(record, motion, identity, 10 * heard[:, None, :].astype(np.float32)))
        shards.append(write_shard(root, split, 0, samples, with_video=False))
    made_by: dict[str, Any] = {
        "codec": {"_target_": "moda.codec.liveportrait.LivePortraitCodec"}, "codec_fingerprint": "codec-0",
        "audio_encoder": {"_target_": "moda.audio.logmel.LogMelEncoder"}, "audio_fingerprint": "audio-0",
    }  # fmt: skip
    DatasetManifest(
        **made_by, audio_layers=1, audio_dim=2, identity_dim=63, statistics=statistics.result(), shards=tuple(shards),
        fingerprint=dataset_fingerprint(shards, **made_by),
        splits={split: [f"{split}_0"] for split in ("train", "val")},
    ).save(root)  # fmt: skip
    return root


def losses(run_dir: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(run_dir / "metrics.jsonl") if "train/loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_the_motion_vae_and_the_transformer_learn_and_dead_dimensions_stay_at_their_mean(source, configure, tmp_path):
    clips = source()
    data = write_dataset(tmp_path / "data", clips)
    statistics = DatasetManifest.load(data).statistics
    assert 15 <= len(statistics.dead) <= 30 and "translationZ" in statistics.dead
    assert LAYOUT.names[LAYOUT.index("expression19Y")] not in statistics.dead
    settings = [*SMALL, "data.window=32", "trainer.max_steps=80", "trainer.val_check_interval=40", "checkpoint.every=80", "optimizer.lr=3e-3"]  # fmt: skip

    vae = run.train(configure("motion_vae", "vae", *settings, "model.network.width=32", dataset=data))
    dit = run.train(configure("dit", "dit", *settings, f"model.motion_vae={vae}", dataset=data))
    for name, factor in (("vae", 0.7), ("dit", 0.95)):
        curve = losses(tmp_path / name)
        assert np.isfinite(curve).all() and np.mean(curve[-10:]) < factor * np.mean(curve[:10]), name

    export = load_export(dit)
    assert export.layout == LAYOUT and export.vae is not None
    held_out = clips[-1][: len(clips[-1]) // 8 * 8]
    audio = np.zeros((64, 1, 2), np.float32)
    with torch.no_grad():
        normal = export.statistics.normalize(torch.from_numpy(held_out))[None]
        again = export.statistics.denormalize(export.vae.decode(export.vae.encode(normal)[0]))[0].numpy()
    motion = np.concatenate(
        list(export.sampler().sample(audio, np.zeros(63, np.float32), 8, held_out[0], seed=0, steps=2))
    )
    for made in (again, motion):
        assert made.shape[1] == 70 and np.isfinite(made).all()
        dead = ~export.statistics.alive
        assert np.array_equal(made[:, dead], np.tile(export.statistics.mean[dead].astype(np.float32), (len(made), 1)))
    alive = export.statistics.alive
    left = ((again - held_out)[:, alive] / export.statistics.std[alive]).var()
    assert left < 0.9 * (((held_out - export.statistics.mean)[:, alive] / export.statistics.std[alive]) ** 2).mean()
