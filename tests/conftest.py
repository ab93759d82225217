"""Fixtures that several packages share: small prepared data sets whose motion follows their sound."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from moda.data.schema import EMOTIONS, ClipRecord, DatasetManifest
from moda.data.writer import Sample, dataset_fingerprint, write_shard
from moda.motion import StatisticsAccumulator, get_layout

os.environ.setdefault("WANDB_MODE", "offline")

AUDIO_LAYERS, AUDIO_DIM, IDENTITY_DIM = 1, 6, 5
CODEC = {"_target_": "moda.codec.head.HeadCodec", "size": 64}
ENCODER = {"_target_": "moda.audio.logmel.LogMelEncoder"}

MakeDataset = Callable[..., Path]


def write_dataset(
    root: Path,
    *,
    speakers: dict[str, tuple[str, ...]] | None = None,
    clips: int = 3,
    frames: int = 60,
    seed: int = 0,
    layout: str = "head59",
    clips_per_shard: int = 2,
    identity_dim: int = IDENTITY_DIM,
) -> Path:
    """A prepared data set in which motion is a fixed linear, smooth function of the speech features.

    speakers: split -> names. Clips differ in length by a few frames; tongueOut never moves.
    """
    speakers = speakers or {"train": ("ann", "bob"), "val": ("cid",), "test": ("dan",)}
    rng = np.random.default_rng(seed)
    motion_layout = get_layout(layout)
    mixing = np.random.default_rng(99).normal(0, 0.3, (AUDIO_DIM, motion_layout.dim))
    statistics = StatisticsAccumulator(motion_layout)
    shards = []
    for split, names in speakers.items():
        samples = []
        for name in names:
            identity = rng.normal(size=identity_dim)
            for number in range(clips):
                length = frames + int(rng.integers(0, 8))
                audio = gaussian_filter1d(rng.normal(size=(length, AUDIO_DIM)), 2.0, axis=0) * 3
                motion = (audio @ mixing).astype(np.float32)
                if layout == "head59":
                    motion[:, motion_layout.index("tongueOut")] = 0
                else:  # faces have a size
                    motion[:, motion_layout.index("scale")] = 1.3 + 0.05 * np.tanh(
                        motion[:, motion_layout.index("scale")]
                    )
                if split == "train":
                    statistics.update(motion)
                record = ClipRecord(
                    key=f"{name}_{number:03d}",
                    split=split,
                    speaker=name,
                    source=f"{name}/{number}.mp4",
                    start=0.0,
                    num_frames=length,
                    fps=25,
                    crop=(64.0, 64.0, 128.0),
                    emotion=EMOTIONS[number % len(EMOTIONS)] if number else None,
                )
                samples.append(Sample(record, motion, identity, audio[:, None, :]))
        for index, at in enumerate(range(0, len(samples), clips_per_shard)):
            shards.append(write_shard(root, split, index, samples[at : at + clips_per_shard], with_video=False))
    manifest = DatasetManifest(
        codec=CODEC,
        codec_fingerprint="codec-0",
        audio_encoder=ENCODER,
        audio_fingerprint="audio-0",
        audio_layers=AUDIO_LAYERS,
        audio_dim=AUDIO_DIM,
        identity_dim=identity_dim,
        statistics=statistics.result(),
        splits={split: list(names) for split, names in speakers.items()},
        shards=tuple(shards),
        fingerprint=dataset_fingerprint(shards, CODEC, "codec-0", ENCODER, "audio-0"),
    )
    manifest.save(root)
    return root


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """``make_dataset(name="data", **settings)`` writes a data set of the test's own; see ``write_dataset``."""
    return lambda name="data", **settings: write_dataset(tmp_path / name, **settings)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set to read and not to change: train ann, bob; val cid; test dan; 3 clips each."""
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def short_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``tiny_dataset``, with clips of 12 to 19 frames: some are shorter than the window of small trainings."""
    return write_dataset(tmp_path_factory.mktemp("short"), frames=12)
