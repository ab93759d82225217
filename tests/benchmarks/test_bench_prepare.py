"""moda bench prepare: what it counts, not how long it takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moda.bench.preparation import Preparation, _Recorded, measure_decoding, measure_preparation, print_preparation
from moda.cli.main import main
from moda.data_prep.extract import Extractor
from moda.data_prep.items import VideoItem
from moda.data_prep.networks import Networks
from moda.errors import UserError
from moda.generation.video import VideoWriter


def test_a_codec_s_frames_are_kept_and_given_on():
    calls = []

    class Codec:
        name = "codec"

        def encode(self, frames):
            return sum(frames)

    recorded = _Recorded(Codec(), "codec", ("encode",), calls)
    assert recorded.encode(iter([np.array(1), np.array(2)])) == 3 and recorded.name == "codec"
    ((name, function, arguments),) = calls
    assert name == "codec" and function(*arguments) == 3  # again, from memory


@pytest.fixture
def video(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "a.mp4", 64, audio=rng.uniform(-0.1, 0.1, 32_000).astype(np.float32)) as writer:
        for _ in range(50):
            writer.write(rng.integers(0, 255, (64, 64, 3), np.uint8))
    return tmp_path / "a.mp4"


def test_both_readers_are_measured(video: Path):
    table = measure_decoding([video])
    assert set(table) == {"decord", "PyAV"} and all(value > 0 for ways in table.values() for value in ways.values())


def test_a_video_that_cannot_be_used_is_refused(video: Path, monkeypatch):
    extractor = Extractor(None, None, None, None, Networks())
    monkeypatch.setattr(Extractor, "process", lambda *_: VideoItem(rejected="no face was found in it"))
    with pytest.raises(UserError, match="no face was found"):
        measure_preparation([video], replace(extractor))


def test_ratios(capsys):
    found = Preparation(10.0, 250, 5.0, 1.0, 0.5, {"codec": 2.0, "looks for faces": 1.0})
    assert (found.parts, found.ratio, found.real_time) == (4.0, 1.25, 2.0)
    print_preparation(found, {"decord": {"all": 1.0, "seek": 2.0}})
    assert "1.25 x networks and one decoding; 2.00 x real time" in capsys.readouterr().out


def test_wrong_arguments(capsys):
    assert main(["bench", "prepare", "a.mp4", "--rounds", "0"]) == 1
    assert "--rounds must be at least 1" in capsys.readouterr().err
