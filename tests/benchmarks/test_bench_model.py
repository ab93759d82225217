"""``moda bench model`` runs the whole network, and its backward pass reaches every weight."""

import pytest
import torch

from moda.bench.model import Passes, measure_model, random_inputs
from moda.cli import main as cli
from moda.models.mmdit import MMDiT

STAGES = [{"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]}]


def test_both_passes_are_counted_and_the_second_reaches_every_weight() -> None:
    network = MMDiT(6, 2, 5, 4, stages=STAGES, width=16, heads=2)
    forward, backward = measure_model(network, batch=2, frames=8, repeats=3)
    assert len(forward.seconds) == len(backward.seconds) == 3 and min(forward.seconds) > 0 and forward.memory > 0
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network(**random_inputs(network, 2, 8, torch.device("cpu"))).shape == (2, 8, 6)


def test_a_line_tells_the_median_and_the_range() -> None:
    assert str(Passes("forward", [0.3, 0.1, 0.2], 2**30)).split(maxsplit=1)[1] == (
        "200.0 ms (100.0 to 300.0), peak memory 1.00 GiB"
    )


def test_the_command_names_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["model.network.width=16", "model.network.heads=2"]
    assert cli.main(["bench", "model", "--repeats", "1", "--batch", "1", "--frames", "8", *small]) == 0
    out = capsys.readouterr().out
    assert "moda_b: " in out and "batch 1, 8 frames, float32, cpu" in out
    assert "forward " in out and "forward, backward" in out
    assert cli.main(["bench", "model", "--batch", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err
