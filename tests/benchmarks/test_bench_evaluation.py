"""What is timed: every call of a network, once each, and nothing stays changed."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moda.bench.evaluation import measure_evaluation, recorded
from moda.bench.evaluation_memory import measure_memory, print_memory
from moda.cli.main import main
from moda.eval import distances
from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.extractors.features import FeatureNetwork, ImageExtractor
from moda.eval.videos.protocol import Protocol
from moda.generation.video import VideoWriter

PROTOCOL = Protocol(
    name="test", version=1, crop="face", size=64, sync_min_seconds=4.0, pad=None, min_track=50, min_face=0, lossy=False
)


class Mean(nn.Module):
    """Features: the mean of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)
        self.calls = 0

    def forward(self, pictures):
        self.calls += 1
        return {"mean": pictures.float().mean((2, 3)) * self.one}


class Counted(np.ndarray):
    """An array that can be counted while it is held."""

    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]
    __eq__ = object.__eq__


def write(path: Path, frames: int = 20) -> Path:
    with VideoWriter(path, 64) as writer:
        for t in range(frames):
            writer.write(np.full((64, 64, 3), 5 * t, np.uint8))
    return path


def test_networks_are_timed_on_the_inputs_of_the_pass(tmp_path: Path) -> None:
    network = Mean()
    extractor = ImageExtractor(FeatureNetwork("mean", network, "mean", "0"), PROTOCOL)
    passes = measure_evaluation([write(tmp_path / "a.mp4")], [extractor], PROTOCOL, rounds=2)
    assert passes.frames == 40 and set(passes.networks) == {"mean"}
    assert network.calls == 2 * (1 + 2 * 3)  # 16 frames and 4: once to warm up, then thrice a round
    assert 0 < passes.networks["mean"] < passes.whole and passes.decoding > 0
    assert "forward" not in vars(network)


def test_calls_are_recorded_with_what_they_were_given() -> None:
    network = Mean()
    extractor = ImageExtractor(FeatureNetwork("mean", network, "mean", "0"), PROTOCOL)
    with recorded([extractor]) as calls:
        network(torch.zeros(2, 3, 4, 4))
    [(name, function, (pictures,))] = calls
    assert name == "mean" and pictures.shape == (2, 3, 4, 4) and function(pictures)["mean"].shape == (2, 3)


def test_features_of_more_clips_do_not_lie_in_memory_together(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips are told apart by name alone, each is read back, and the arrays held at once stay as few."""
    extractor = ImageExtractor(FeatureNetwork("FD-mean", Mean(), "mean", "0"), PROTOCOL)
    alive, most, load = weakref.WeakSet(), [0], FeatureCache.load

    def counted(self, key):
        arrays = load(self, key)
        alive.update(holders := [array.view(Counted) for array in arrays.values()])
        most[0] = max(most[0], len(alive))
        return dict(zip(arrays, holders, strict=True))

    monkeypatch.setattr(FeatureCache, "load", counted)
    monkeypatch.setattr(distances, "TOGETHER", 2)
    held = {}
    for count in (9, 18):
        most[0] = 0
        found = measure_memory([write(tmp_path / "a.mp4")], [extractor], PROTOCOL, {}, [count])
        held[count] = most[0]
        assert found[count] > 0
    assert held[18] == held[9] < 6
    print_memory({8: 2.0**30, 64: 2.0**30 + 56 * 2**20})
    assert (
        "8 clips of a truth and of a method: 1024 MiB" in (out := capsys.readouterr().out) and "1.000 MiB a clip" in out
    )


@pytest.mark.parametrize("clips", ["1", "8,", "x,9"])
def test_numbers_of_clips_are_checked(tmp_path: Path, clips: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", "evaluate", str(tmp_path / "a.mp4"), "--clips", clips]) == 1
    assert "whole numbers of at least 2" in capsys.readouterr().err


def test_the_command_reports_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", "evaluate", str(tmp_path / "none.mp4")]) == 1
    assert capsys.readouterr().err.strip().count("\n") == 0
