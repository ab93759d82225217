"""A prepared data set of noise, to measure with where there is no other."""

from pathlib import Path
from typing import Any

import numpy as np

from moda.data.schema import ClipRecord, DatasetManifest
from moda.data.writer import Sample, dataset_fingerprint, write_shard
from moda.motion import StatisticsAccumulator, get_layout

CLIPS_PER_SHARD = 32


def write_synthetic(
    root: Path,
    *,
    layout: str = "head59",
    audio_layers: int = 1,
    audio_dim: int = 80,
    identity_dim: int = 63,
    shards: int = 8,
    seconds: int = 10,
) -> Path:
    """Write ``shards`` shards of 32 clips of ``seconds`` s for training and one for validation below ``root``.

    Sizes are those of real data; the content is noise, and the codec and encoder it names are never built.
    """
    rng = np.random.default_rng(0)
    motion_layout = get_layout(layout)
    statistics = StatisticsAccumulator(motion_layout)
    frames = seconds * motion_layout.fps

    def sample(split: str, number: int) -> Sample:
        motion = rng.standard_normal((frames, motion_layout.dim), np.float32)
        if split == "train":
            statistics.update(motion)
        record = ClipRecord(
            key=f"{split}_{number:05d}",
            split=split,
            speaker=split,
            source=f"{number}.mp4",
            start=0.0,
            num_frames=frames,
            fps=motion_layout.fps,
            crop=(128.0, 128.0, 256.0),
        )
        audio = rng.standard_normal((frames, audio_layers, audio_dim), np.float32)
        return Sample(record, motion, rng.standard_normal(identity_dim), audio)

    counts = {"train": shards, "val": 1}
    written = [
        write_shard(
            root,
            split,
            index,
            (sample(split, index * CLIPS_PER_SHARD + n) for n in range(CLIPS_PER_SHARD)),
            with_video=False,
        )
        for split, count in counts.items()
        for index in range(count)
    ]
    made_by: dict[str, Any] = {
        "codec": {"_target_": "moda.codec.head.HeadCodec"},
        "codec_fingerprint": "none",
        "audio_encoder": {"_target_": "moda.audio.logmel.LogMelEncoder"},
        "audio_fingerprint": "none",
    }
    DatasetManifest(
        **made_by,
        audio_layers=audio_layers,
        audio_dim=audio_dim,
        identity_dim=identity_dim,
        statistics=statistics.result(),
        splits={split: [split] for split in counts},
        shards=tuple(written),
        fingerprint=dataset_fingerprint(written, **made_by),
    ).save(root)
    return root
