"""Steps of the flow against many: on an untrained network whose velocity moves with x."""

import json

import pytest
import torch

from moda.bench.sampling import COMPARED, Sampling, cost, measure_steps
from moda.build import build
from moda.cli.main import main
from moda.errors import UserError
from moda.eval.metrics.correlation import DimensionCorrelation
from moda.eval.metrics.diversity import MotionRange
from moda.flow.rectified import RectifiedFlow

METRICS = {"jaw_correlation": DimensionCorrelation(), "motion_range": MotionRange()}


@pytest.fixture
def moving_run(tiny_dataset, make_run):
    """A network that is awake, so that its flow bends."""
    from moda.models.mmdit import MMDiT

    stages = [{"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]}]
    torch.manual_seed(0)
    network = MMDiT(59, 1, 6, 5, stages=stages, width=16, heads=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
        for parameter in network.time_embedder.parameters():
            parameter.zero_()  # untrained, it would be noise in time that no step resolves
    return make_run(tiny_dataset, network=network)


def test_more_steps_and_higher_orders_come_nearer_to_many_steps(moving_run, codec, protocol):
    settings = protocol(moving_run, metrics=METRICS, seeds=1)
    ways = [Sampling(2), Sampling(16), Sampling(16, "adams_bashforth_2"), Sampling(16, "heun")]
    reference, few, euler, multistep, heun = measure_steps(settings, ways, Sampling(64, "heun"))
    assert reference.distance == 0 and reference.worst[1] == 0
    assert few.distance > euler.distance > 2 * multistep.distance > 2 * heun.distance > 0
    assert multistep.evaluations == euler.evaluations == 16 and heun.evaluations == 32
    assert set(few.differences) <= set(COMPARED) and few.worst[1] == max(few.differences.values())


@pytest.mark.parametrize(
    ("flow", "guidance", "expected"),
    [
        (RectifiedFlow(), None, (10, 20)),
        (RectifiedFlow(), 1.0, (10, 10)),
        (RectifiedFlow(), {"audio": 2.0, "emotion": 3.0}, (10, 30)),
        (RectifiedFlow().sampled("heun"), None, (20, 40)),
        (RectifiedFlow().sampled("adams_bashforth_3"), 1.0, (11, 11)),
        (RectifiedFlow().sampled(interval=[0.25, 0.75]), None, (10, 15)),  # at 0.7, 0.6, 0.5, 0.4, 0.3
    ],
)
def test_the_cost_counts_evaluations_and_branches_of_guidance(flow, guidance, expected):
    assert cost(flow, 10, guidance) == expected


def test_the_command_writes_a_table(moving_run, codec, tmp_path, capsys):
    out = tmp_path / "steps.json"
    ways = ["--steps", "2", "--solvers", "euler,adams_bashforth_2", "--reference", "8", "--out", str(out)]
    assert main(["bench", "steps", str(moving_run), *ways, "clips=2", "seeds=1"]) == 0
    written = json.loads(out.read_text())
    assert [row["sampling"]["solver"] for row in written["measured"]] == [None, "euler", "adams_bashforth_2"]
    assert str(out) in capsys.readouterr().out.replace("\n", "")


def test_a_motion_vae_has_no_steps(tiny_dataset, make_run, capsys):
    spec = {"_target_": "moda.models.motion_vae.MotionVAE", "motion_dim": 59, "latent_dim": 8, "width": 8}
    vae = {"task": "motion_vae", "network": None, "network_spec": None, "vae": build(spec), "vae_spec": spec}
    assert main(["bench", "steps", str(make_run(tiny_dataset, **vae))]) == 1
    assert "run is a motion VAE, which samples nothing" in capsys.readouterr().err


def test_what_is_no_number_of_steps_is_refused(moving_run, codec, protocol, capsys):
    with pytest.raises(UserError, match="steps must be at least 1"):
        measure_steps(protocol(moving_run, metrics=METRICS), [Sampling(0)], Sampling(8))
    assert main(["bench", "steps", str(moving_run), "--steps", "few"]) == 1
    assert "'few' is not a list of numbers" in capsys.readouterr().err
    assert main(["bench", "steps", str(moving_run), "--stepz"]) == 1
