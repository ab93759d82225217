"""``moda prepare`` as it is typed, with the real models, on a rendered head."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from prep_fakes import tone, write_video

from moda.cli.main import main
from moda.data.schema import DatasetManifest
from moda.motion.layout import get_layout


@pytest.fixture
def talking_head(tmp_path: Path) -> Path:
    """A second and a half of a head that opens its mouth in the middle."""
    pytest.importorskip("ai_edge_litert")
    from moda.codec.head.identity import random_head
    from moda.codec.head.renderer import HeadRenderer

    layout = get_layout("head59")
    motion = np.zeros((2, layout.dim), np.float32)
    motion[:, layout.index("scale")] = 1
    motion[1, layout.index("jawOpen")] = 0.8
    renderer, head = HeadRenderer(192, 1), random_head(3)
    closed, opened = (renderer.render(head, row) for row in motion)
    write_video(tmp_path / "videos" / "ann.mp4", [closed] * 13 + [opened] * 12 + [closed] * 13, sound=tone(1.52))
    return tmp_path / "videos"


def test_prepares_a_folder_with_the_real_models(talking_head: Path, tmp_path: Path, capsys):
    arguments = [
        "prepare",
        f"source={talking_head}",
        f"out={tmp_path / 'data'}",
        "audio=logmel",
        "video_size=128",
        "workers=1",
    ]
    assert main(arguments) == 0
    assert "used 1 clips (0:00:02) from 1 of 1 videos" in capsys.readouterr().out
    manifest = DatasetManifest.load(tmp_path / "data")
    with tarfile.open(tmp_path / "data" / manifest.shards[0].features) as tar:
        name = next(name for name in tar.getnames() if name.endswith("motion.npy"))
        motion = np.load(io.BytesIO(tar.extractfile(name).read()), allow_pickle=False)  # type: ignore[union-attr]
    jaw = motion[:, manifest.layout.index("jawOpen")]
    assert jaw[15:23].min() > jaw[:12].max() + 0.2
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "source= is missing"),
        (["source=videos"], "out= is missing"),
        (["source=/nowhere", "out=x"], "is not a folder"),
        (["source=.", "out=x", "clip_seconds=long"], "clip_seconds"),
        (["source=.", "out=x", "+colour=red"], "colour"),
        (["source=.", "out=x", "video_size=101"], "even number"),
        (["source=.", "out=x", "clip_seconds=0.5"], "clip_seconds"),
        (["source=.", "out=x", "speaker_from=voice"], "one of parent, top, file"),
        (["source=.", "out=x", "splits.test=2.5"], "share"),
        (["source=.", "out=x", "splits.val=inf"], "share"),
        (["source=.", "out=x", "clip_seconds=inf"], "clip_seconds=inf must be a number of seconds"),
        (["source=.", "out=x", "quality.min_speech=90"], "quality.min_speech=90.0 must be a part, from 0 to 1"),
        (["source=.", "out=x", "quality.max_faces=0"], "quality.max_faces=0 must be 1 or more"),
        (["source=.", "out=x", "quality.yaw=nan"], "quality.yaw=nan must be a number from 0 on"),
        (["source=.", "out=x", "corpus=ravdess", "speaker_from=top"], "speaker_from=top does nothing with corpus="),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments: list[str], message: str, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("moda prepare: error:") and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_settings_file_names_the_models(tmp_path: Path):
    from hydra import compose, initialize_config_module

    from moda.cli.prepare import settings_of

    with initialize_config_module("moda.conf", version_base=None):
        config = compose(
            "prepare", [f"source={tmp_path}", f"out={tmp_path}", "audio=phonemes_logmel", "splits.pinned.test=[ann]"]
        )
    settings = settings_of(config)
    assert settings.codec["_target_"] == "moda.codec.head.HeadCodec"
    assert len(settings.audio["encoders"]) == 2 and settings.splits.pinned["test"] == ["ann"] and settings.workers >= 1
    json.dumps(settings.request())
