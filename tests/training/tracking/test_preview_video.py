"""Previews as video: the truth beside the model, with the clip's sound where there is one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dataset_support import save

from moda.codec.base import Portrait
from moda.data.media import iterate_frames
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data.writer import Sample, write_shard
from moda.errors import UserError
from moda.generation.video import VideoWriter
from moda.motion import get_layout
from moda.training import run
from moda.training.tracking import preview_video
from moda.training.tracking.metrics import read_events

LAYOUT = get_layout("head59")
JAW = LAYOUT.index("jawOpen")
SIDE = 64


class MouthCodec:
    """A grey face whose mouth is as bright as it is open; darker where the portrait is a stand-in."""

    name, fingerprint, layout, identity_dim, size = "mouth", "codec-0", LAYOUT, 5, SIDE

    def portrait(self, source):
        if str(source) == "mouth:1":
            return Portrait(np.zeros(5, np.float32), np.zeros(59, np.float32), 40)
        assert Path(source).is_file()
        return Portrait(np.zeros(5, np.float32), np.zeros(59, np.float32), 120)

    def decode(self, portrait, motion):
        for opening in motion[:, JAW]:
            frame = np.full((SIDE, SIDE, 3), portrait.source, np.uint8)
            frame[24:56, 16:48] = int(np.clip(opening, 0, 1) * 255)
            yield frame


@pytest.fixture
def mouth(monkeypatch: pytest.MonkeyPatch) -> MouthCodec:
    codec = MouthCodec()
    monkeypatch.setattr(preview_video, "load_codec", lambda spec, fingerprint: codec)
    return codec


def add_video(root: Path, folder: Path, codec: MouthCodec) -> None:
    """Give the val split of a data set video shards: black film, sound that rises from clip to clip."""
    manifest = DatasetManifest.load(root)
    samples = []
    for number, clip in enumerate(FeatureShards(root, "val", manifest)):
        film, sound = folder / f"{clip.key}.mp4", folder / f"{clip.key}.flac"
        waveform = 0.1 * (number + 1) * np.sin(np.arange(clip.num_frames * 640) / 9)
        soundfile.write(sound, waveform.astype(np.float32), 16_000)
        with VideoWriter(film, SIDE) as writer:
            for _ in range(clip.num_frames):
                writer.write(np.zeros((SIDE, SIDE, 3), np.uint8))
        samples.append(Sample(clip.record, clip.motion, clip.identity, clip.audio, film, sound))
    for path in root.glob("val/*.tar"):
        path.unlink()
    kept = tuple(shard for shard in manifest.shards if shard.split != "val")
    shards = (*kept, write_shard(root, "val", 0, samples))
    save(dataclasses.replace(manifest, shards=shards), root)


def loudness(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    return float(np.abs(sound).max())


def test_truth_left_model_right_and_the_clips_own_sound(configure, make_dataset, tmp_path, mouth) -> None:
    data = make_dataset()
    add_video(data, tmp_path, mouth)
    run.train(configure("motion_vae", "run", "preview.every=6", "preview.seconds=1", dataset=data))
    (event,) = read_events(tmp_path / "run/metrics.jsonl", "preview")
    assert event["step"] == 6 and event["files"] == {
        "curves": "previews/step-6.png",
        "cid_000": "previews/step-6/cid_000.mp4",
        "cid_001": "previews/step-6/cid_001.mp4",
    }
    clips = {clip.key: clip for clip in FeatureShards(data, "val")}
    for number, key in enumerate(("cid_000", "cid_001")):
        path = tmp_path / "run" / event["files"][key]
        frames = list(iterate_frames(path.read_bytes()))
        assert len(frames) == 25 and frames[0].shape == (SIDE, 2 * SIDE, 3)
        for t in (0, 12, 24):
            assert abs(int(frames[t][8, 8, 0]) - 120) < 8  # the face of the filmed clip
            shown = frames[t][40, 32].mean() / 255
            assert shown == pytest.approx(float(np.clip(clips[key].motion[t, JAW], 0, 1)), abs=0.06)
        assert loudness(path) == pytest.approx(0.1 * (number + 1), rel=0.25)


def test_without_video_shards_there_is_a_stand_in_and_no_sound(configure, tmp_path, mouth) -> None:
    import av

    run.train(configure("motion_vae", "run", "preview.every=6", "preview.seconds=0.4", "preview.clips=1"))
    path = tmp_path / "run/previews/step-6/cid_000.mp4"
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 0 and container.streams.video[0].frames == 10
    assert abs(int(next(iterate_frames(path.read_bytes()))[8, 8, 0]) - 40) < 8


def test_a_codec_that_cannot_be_built_leaves_the_curves_and_one_warning(
    configure, tmp_path, monkeypatch, capsys
) -> None:
    def refuse(spec: dict, fingerprint: str) -> None:
        raise UserError("the codec's files are missing")

    monkeypatch.setattr(preview_video, "load_codec", refuse)
    run.train(configure("motion_vae", "run", "preview.every=3", "preview.seconds=0.4"))
    assert sorted(path.name for path in (tmp_path / "run/previews").iterdir()) == ["step-3.png", "step-6.png"]
    assert capsys.readouterr().out.count("previews are curves only: the codec's files are missing") == 1
