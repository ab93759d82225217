"""What is timed: every call of a network, once each, and nothing stays changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moda.bench.evaluation import measure_evaluation, recorded
from moda.cli.main import main
from moda.eval.videos.features import FeatureNetwork, ImageExtractor
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


def test_the_command_reports_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", "evaluate", str(tmp_path / "none.mp4")]) == 1
    assert capsys.readouterr().err.strip().count("\n") == 0
