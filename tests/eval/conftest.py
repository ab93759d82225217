"""A run to be scored: a small data set with sound and pictures, an export, and a codec that draws a mouth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dataset_support import save

from moda.codec.base import Portrait
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data.writer import Sample, write_shard
from moda.errors import UserError
from moda.eval.metrics.correlation import DimensionCorrelation, LipCorrelation
from moda.eval.metrics.frechet import FrechetMotion
from moda.eval.metrics.lag import Lag
from moda.eval.motion.protocol import Protocol
from moda.generation.video import VideoWriter
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export, write_export
from moda.models.mmdit import MMDiT
from moda.motion.layout import get_layout

LAYOUT = get_layout("head59")
JAW = LAYOUT.index("jawOpen")
SIDE = 64


class MouthCodec:
    """Draws an open mouth as a white bar on grey; enough of a codec to see motion in pixels."""

    name, fingerprint, layout, identity_dim, size = "mouth", "codec-0", LAYOUT, 5, SIDE

    def portrait(self, source):
        if not Path(source).is_file():
            raise UserError(f"{source} does not exist")
        return Portrait(np.zeros(5, np.float32), np.zeros(59, np.float32), None)

    def decode(self, portrait, motion):
        for opening in motion[:, JAW]:
            frame = np.full((SIDE, SIDE, 3), 90, np.uint8)
            frame[32 : 33 + int(np.clip(opening, 0, 1) * 20), 20:44] = 255
            yield frame

    def lip_aperture(self, motion):
        return motion[:, JAW]


@pytest.fixture
def codec(monkeypatch):
    """The mouth codec in place of the one that the data set names."""
    mouth = MouthCodec()
    monkeypatch.setattr("moda.eval.motion.protocol.load_codec", lambda spec, fingerprint: mouth)
    return mouth


def write_clip(folder: Path, key: str, motion: np.ndarray, codec: MouthCodec) -> tuple[Path, Path]:
    """Video and sound of a clip: silence, then noise that is loud where the mouth is open, then silence."""
    opening = np.clip(motion[:, JAW], 0, 1).astype(np.float32)
    opening[:4] = opening[-6:] = 0
    sound = np.random.default_rng(0).normal(0, 0.2, len(motion) * 640).astype(np.float32) * opening.repeat(640)
    soundfile.write(folder / f"{key}.flac", sound, 16_000)
    with VideoWriter(folder / f"{key}.mp4", SIDE) as writer:
        for frame in codec.decode(None, motion):
            writer.write(frame)
    return folder / f"{key}.mp4", folder / f"{key}.flac"


@pytest.fixture
def filmed_dataset(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The tiny data set's test split again, with video shards."""
    root, manifest = tmp_path / "filmed", DatasetManifest.load(tiny_dataset)
    samples = []
    for clip in FeatureShards(tiny_dataset, "test", manifest):
        video, sound = write_clip(tmp_path, clip.key, clip.motion, MouthCodec())
        samples.append(Sample(clip.record, clip.motion, clip.identity, clip.audio, video, sound))
    shards = (write_shard(root, "test", 0, samples),)
    save(dataclasses.replace(manifest, shards=shards), root)
    return root


@pytest.fixture
def make_run(tmp_path: Path):
    """``make_run(data)``: a run directory with the export of a small, untrained transformer."""

    def make(data: Path, **changes) -> Path:
        manifest = DatasetManifest.load(data)
        spec = {
            "_target_": "moda.models.mmdit.MMDiT", "motion_dim": 59, "audio_layers": 1, "audio_dim": 6,
            "identity_dim": 5, "width": 16, "heads": 2,
            "stages": [{"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]}],
        }  # fmt: skip
        network = MMDiT(**{name: value for name, value in spec.items() if name != "_target_"})
        export = Export(
            task="dit", step=7, identity=MotionIdentity.of(manifest), codec_spec=manifest.codec,
            audio_spec=manifest.audio_encoder, audio_layers=1, audio_dim=6, identity_dim=5,
            dataset_fingerprint=manifest.fingerprint, network=network, network_spec=spec, window=32, overlap=8,
            previous=1, config={"data": {"path": str(data)}},
        )  # fmt: skip
        run = tmp_path / "run"
        write_export(run / "export", dataclasses.replace(export, **changes))
        return run

    return make


@pytest.fixture
def protocol():
    """``protocol(run, **settings)`` with four metrics and short sampling."""
    metrics = {
        "lip_correlation": LipCorrelation(),
        "jaw_correlation": DimensionCorrelation(),
        "lag": Lag(),
        "frechet_motion": FrechetMotion(),
    }
    return lambda run, **settings: Protocol(run=run, **({"metrics": metrics, "steps": 2} | settings))
