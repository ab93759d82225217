"""What a GPU would meet, found without one: tensors left on the host, waits, types, and how many kernels a step launches.

A process of its own (``run_checks.py``) tries everything once on a fake GPU; the tests look at what it wrote.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.backend_registration

from moda.build import build
from moda.cli.hydra_app import compose
from moda.cli.train import resolve
from moda.training.compilation import compile_blocks

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no Python backend for a device of one's own",
)
Results = dict[str, Any]
HERE = Path(__file__).parent

# Waits in a step by task; of the others there are none. Each is a copy of pageable memory, or a value that is read.
WAITS = {
    "SyncNet": {"copy in training.syncnet_module.SyncNetModule._windows"},  # pictures and sounds are cut in the step
}
# Of the logged steps, of validations, of checkpoints.
WAITS_BESIDE = {
    "copy in training.faults.nonfinite.NonFiniteGuard._begin",  # on CUDA pinned, and read a step later
    "copy in training.tracking.recording.StepRecorder._record",
    "_local_scalar_dense in training.tracking.recording.StepRecorder._record",
    "copy in training.checkpoints.masters.Masters.gather",
    "copy in training.base.TrainingModule.copy_with",
}
# Of sampling: once a clip or a window, never an evaluation of the network.
WAITS_OF_SAMPLING = {
    "copy in generation.sampler.MotionSampler._start",
    "copy in generation.sampler.MotionSampler._sample_window",
    "copy in generation.sampler.MotionSampler._decode",
    "copy in generation.conditioning.WindowConditions._field",
    "copy in generation.conditioning.WindowConditions._field.<locals>.shown",  # kept for the window
    "copy in motion.statistics.MotionStatistics._like",
}
# Operators with a rule of their own on CUDA, which nothing here calls.
WITHOUT_RULE = {
    "aten::binary_cross_entropy", "aten::cudnn_convolution", "aten::cudnn_convolution_transpose", "aten::norm.Scalar",
    "aten::norm.ScalarOpt_dim",
}  # fmt: skip
# Of one optimizer step in bf16-mixed with the transformer's blocks as they were first written, batch 16 and 8 of 80
# frames; a step may launch three quarters of it.
LAUNCHES = {"mmdit_demo": 1333, "mmdit_b": 4834}
SHARE = 0.75
STEPS = (
    "transformer", "transformer with all terms", "transformer of latents", "motion VAE", "quantised VAE", "sync expert",
    "SyncNet",
)  # fmt: skip
PHASES = ("forward", "backward", "clip", "optimizer", "ema")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("fake-gpu")
    command = [sys.executable, str(HERE / "run_checks.py"), str(folder), str(folder / "results.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads((folder / "results.json").read_text())


def found(results: Results, name: str) -> Results:
    """What a check found, which no mix of devices has ended."""
    assert results[name]["error"] is None
    return results[name]


def waits(result: Results, *phases: str) -> set[str]:
    return {place for phase in phases for place in result["phases"][phase]["waits"]}


@pytest.mark.parametrize("task", STEPS)
def test_a_step_waits_for_nothing_and_mixes_no_devices(results: Results, task: str) -> None:
    result = found(results, f"step of {task}")
    assert waits(result, *PHASES) == WAITS.get(task, set())
    assert result["losses"] and not any(result["losses"].values())  # scalars
    for phase in PHASES:
        assert result["phases"][phase]["launches"]  # it did run


@pytest.mark.parametrize("task", ["transformer", "motion VAE", "sync expert"])
def test_what_is_done_beside_a_step_waits_where_it_says(results: Results, task: str) -> None:
    assert waits(found(results, f"step of {task}"), "beside") <= WAITS_BESIDE


def test_the_step_counter_of_a_resumed_optimizer_is_where_its_kernels_read_it(results: Results) -> None:
    fused, foreach = (found(results, f"resume, {kind}")["places"] for kind in ("fused", "foreach"))
    assert fused == dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), "fakegpu")
    assert foreach == fused | {"step": "cpu"}  # read by the host, to correct the bias


@pytest.mark.parametrize("space", ["motion", "an interval", "latents"])
def test_sampling_waits_for_no_evaluation_of_the_network(results: Results, space: str) -> None:
    result = found(results, f"sampling of {space}")
    assert len(result["frames"]) == 3  # windows
    assert waits(result, "sampling") <= WAITS_OF_SAMPLING


def test_liveportrait_renders_and_no_frame_waits_for_the_one_before(results: Results) -> None:
    result = found(results, "LivePortrait")
    assert result["pixels"] == ["torch.uint8", "fakegpu", 6, 512, 512, 3]
    assert result["feature"] == ["torch.float32", "fakegpu", 1, 32, 16, 64, 64]
    assert waits(result, "rendering") == set()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("FIDInception", [16, 2048]),
        ("EfficientNetLite0", [16, 1280]),
        ("I3D", [1, 400]),
        ("PhysNet", [1, 128]),
        ("SyncNet", [31]),
        ("S3FD", [0, 5]),
        ("MiniXception", [3, 7]),
    ],
)
def test_networks_of_evaluation_run_on_the_device(results: Results, network: str, shape: list[int]) -> None:
    assert found(results, network)["shape"] == shape


@pytest.mark.parametrize("model", LAUNCHES)
def test_streams_stay_float32_and_attention_is_bf16(results: Results, model: str) -> None:
    result = found(results, f"launches of {model}")
    assert waits(result, *PHASES) == set()
    assert result["streams"] == ["torch.float32"]
    assert result["attention"] == ["torch.bfloat16"]
    assert result["gradients"] == ["torch.float32"]


@pytest.mark.parametrize("model", LAUNCHES)
def test_a_step_launches_few_kernels(results: Results, model: str) -> None:
    phases = found(results, f"launches of {model}")["phases"]
    counts = {name: sum(phases[name]["launches"].values()) for name in (*PHASES[:3], "optimizer again", "ema")}
    assert sum(counts.values()) <= SHARE * LAUNCHES[model], counts
    for phase, operator in (("clip", "_foreach_norm"), ("optimizer again", "_fused_adamw_"), ("ema", "_foreach_lerp_")):
        assert operator in phases[phase]["launches"]  # all weights at once


def test_a_compiled_step_is_one_graph_a_block() -> None:
    config = resolve(compose("train", ["task=dit", "model=mmdit_demo", "data.path=none", "model.network.width=16"]))
    sizes = {"motion_dim": 5, "audio_layers": 1, "audio_dim": 6, "identity_dim": 4}
    network = build({**config["model"]["network"], **sizes})
    calls = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        return lambda *values: (calls.append(graph), graph.forward(*values))[1]

    torch._dynamo.reset()
    compile_blocks(network, backend=counting)  # type: ignore[arg-type]  # torch takes functions as well as names
    conditions = {"audio": torch.zeros(2, 8, 1, 6), "identity": torch.zeros(2, 4), "emotion": torch.zeros(2).long()}
    network(torch.zeros(2, 8, 5), torch.zeros(2), previous_motion=torch.zeros(2, 1, 5), **conditions)
    assert len(calls) == len(network.blocks) == 4


def test_mistakes_are_found(results: Results) -> None:
    """The fake GPU itself: what is wrong on purpose, and would be on CUDA."""
    error = results["planted: a mix"]["error"]
    assert error.startswith("FakeTensorDeviceMismatchError") and "fakegpu:0 and cpu" in error
    expected = {
        "a read": {"_local_scalar_dense in no function of moda": 1},
        "a mask": {"mask in no function of moda": 1},
        "an upload": {"copy in no function of moda": 1},  # the other one, which does not wait, is no wait
    }
    for name, places in expected.items():
        result = found(results, f"planted: {name}")
        assert result["phases"]["start"]["waits"] == places
    assert results["planted: an upload"]["phases"]["start"]["copies"] == {"copy in no function of moda": 1}


def test_autocast_has_the_rules_of_cuda(results: Results) -> None:
    names = torch._C._dispatch_get_all_op_names()
    cuda = {name for name in names if torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCUDA")}
    assert {f"aten::{name}" for name in found(results, "rules")["operators"]} == cuda - WITHOUT_RULE
