"""Every strategy on two real processes over gloo, started as a user starts them, against one process."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from bare_support import sample_bare, sample_of
from training_support import small_overrides

from moda.build import build
from moda.errors import UserError
from moda.interop.export import load_export
from moda.training.checkpoints.consolidate import export_run
from moda.training.checkpoints.pieces import PieceReader
from moda.training.distributed.resources import Resources
from moda.training.run import train
from moda.training.tracking.metrics import read_metrics

STRATEGIES = ("ddp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
CLIP = 0.05  # far below the norm of any gradient here
SETTINGS = (
    "model.space=motion", "optimizer.final_factor=1", "trainer.max_steps=4", "checkpoint.every=1", "checkpoint.keep=4",
    f"trainer.gradient_clip_val={CLIP}", "trainer.val_check_interval=2",
)  # fmt: skip

# The ranks' gradients are float32 sums over two halves of a batch, added afterwards: the order of the
# additions differs from that of one process, which is worth a few units in the last place (6e-8) of each
# gradient. Adam divides by the gradient's own size, so a weight moves by at most that relative error of a
# step of lr = 5e-4, and a loss near 2 by some 1e-7 of itself. 1e-5 leaves room for four steps.
LOSS_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-5

Run = Callable[..., Path]


def train_on_two(dataset: Path, run_dir: Path, strategy: str, *more: str) -> Path:
    """``moda train`` on two processes; the batch of a step is the same as on one."""
    overrides = (*SETTINGS, f"run_dir={run_dir}", f"strategy={strategy}", "trainer.devices=2", *more)
    command = [sys.executable, "-m", "moda.cli.main", "train", *small_overrides("dit", dataset, *overrides)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900
    )  # of a machine that does other things as well
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained ") == 1  # one process speaks
    return run_dir


@pytest.fixture(scope="module")
def dataset(short_dataset: Path) -> Path:
    return short_dataset  # samples weigh alike, however many of their frames are there


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``runs(strategy)``: the run directory of four steps, each strategy trained once."""
    root, made = tmp_path_factory.mktemp("runs"), {}

    def get(strategy: str) -> Path:
        if strategy not in made:
            made[strategy] = train_on_two(dataset, root / strategy, strategy)
        return made[strategy]

    return get


@pytest.fixture
def one(configure, dataset: Path) -> Run:
    """``one(name, *overrides)``: the same training in one process."""
    return lambda name, *more: train(configure("dit", name, *SETTINGS, *more, dataset=dataset))


def losses(run_dir: Path) -> dict[str, list[float]]:
    lines = read_metrics(run_dir / "metrics.jsonl")
    names = ("train/loss", "train/gradient_norm", "val/loss")
    return {name: [line[name] for line in lines if name in line] for name in names}


def pieces(run_dir: Path, kind: str, step: int = 4) -> dict[str, torch.Tensor]:
    return PieceReader(run_dir / f"checkpoints/step-{step}", kind).whole()


def assert_same(run_dir: Path, reference: Path) -> None:
    ours, theirs = losses(run_dir), losses(reference)
    for name, values in theirs.items():
        assert len(values) >= 2
        assert ours[name] == pytest.approx(values, rel=LOSS_TOLERANCE), name
    for kind in ("weights", "optimizer", "ema"):
        ours, theirs = pieces(run_dir, kind), pieces(reference, kind)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=WEIGHT_TOLERANCE, msg=f"{kind} {name}")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_train_step_by_step_as_one_process_does(runs: Run, one: Run, strategy: str) -> None:
    reference, run_dir = one("one"), runs(strategy)
    assert len(losses(reference)["train/loss"]) == 4
    assert_same(run_dir, reference)
    exported, expected = load_export(run_dir).network.state_dict(), load_export(reference).network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(exported[name], value, rtol=0, atol=WEIGHT_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["deepspeed_1", "deepspeed_2", "deepspeed_3"])
def test_accumulated_micro_batches_under_zero_make_the_step_that_one_batch_makes(
    one: Run, dataset: Path, tmp_path: Path, strategy: str
) -> None:
    assert_same(train_on_two(dataset, tmp_path / "zero", strategy, "trainer.accumulate_grad_batches=2"), one("one"))


def applied_norm(run_dir: Path) -> float:
    """Norm of the gradient that the first step was made with, out of Adam's first moment."""
    moments = pieces(run_dir, "optimizer", step=1)
    applied = [value / (1 - 0.9) for name, value in moments.items() if name.startswith("exp_avg/")]
    return torch.linalg.vector_norm(torch.cat([value.flatten() for value in applied])).item()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_are_clipped_and_their_norm_is_recorded_before(runs: Run, strategy: str) -> None:
    run_dir = runs(strategy)
    first = next(line for line in read_metrics(run_dir / "metrics.jsonl") if "train/gradient_norm" in line)
    assert first["train/gradient_norm"] > 2 * CLIP
    assert applied_norm(run_dir) == pytest.approx(CLIP, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["deepspeed_2", "deepspeed_3"])
def test_a_sharded_checkpoint_holds_each_weight_once(runs: Run, strategy: str) -> None:
    checkpoint = runs(strategy) / "checkpoints/step-4"
    whole = sum(value.numel() for value in PieceReader(checkpoint, "weights").whole().values())
    sizes = [path.stat().st_size for path in sorted(checkpoint.glob("ema-*.safetensors"))]
    assert len(sizes) == 2 and max(sizes) < 0.7 * sum(sizes)
    assert sum(sizes) < 4 * whole + 40_000  # and the headers


@pytest.mark.slow
def test_the_export_of_a_sharded_checkpoint_computes_the_same_without_lightning_and_deepspeed(
    runs: Run, tmp_path: Path
) -> None:
    run_dir = runs("deepspeed_2")
    assert len(list((run_dir / "checkpoints/step-4").glob("weights-*.safetensors"))) == 2  # each rank's own part
    out = export_run(run_dir, tmp_path / "trained", 4, None, None)
    export = load_export(out)
    for name, value in pieces(run_dir, "weights").items():
        torch.testing.assert_close(export.network.state_dict()[name].flatten(), value.flatten(), rtol=0, atol=0)
    motion = sample_of(export)
    assert motion.shape == (30, 59) and np.isfinite(motion).all() and motion.std(0).max() > 0.01
    np.testing.assert_allclose(sample_bare(out, tmp_path), motion, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_other_ranks_and_another_strategy(
    runs: Run, one: Run, dataset: Path, tmp_path: Path
) -> None:
    reference = one("one")
    halfway = train_on_two(dataset, tmp_path / "moved", "deepspeed_3", "trainer.max_steps=2")
    one("moved")
    assert_same(halfway, reference)
    back = one("back", "trainer.max_steps=2", "trainer.accumulate_grad_batches=2")
    train_on_two(dataset, back, "deepspeed_2")
    assert pieces(back, "weights").keys() == pieces(reference, "weights").keys()
    for name, value in pieces(reference, "weights").items():
        torch.testing.assert_close(pieces(back, "weights")[name], value, rtol=0, atol=WEIGHT_TOLERANCE, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["deepspeed_2_offload", "deepspeed_3_offload"])
def test_bfloat16_under_zero_computes_what_it_does_in_one_process(
    one: Run, dataset: Path, tmp_path: Path, strategy: str
) -> None:
    bf16 = ("trainer.precision=bf16-mixed", "trainer.max_steps=2")
    reference = losses(one("one", *bf16))["train/loss"]
    sharded = train_on_two(dataset, tmp_path / "zero", strategy, *bf16)
    # products in bfloat16 have 8 bits, and each of a sample's products is the same on either side; only
    # the gradients that ranks exchange in bfloat16 differ, which reaches the second loss
    assert losses(sharded)["train/loss"] == pytest.approx(reference, rel=1e-4)
    assert all(value.dtype == torch.float32 for value in pieces(sharded, "weights", step=2).values())
    assert applied_norm(sharded) == pytest.approx(CLIP, rel=1e-2)  # of gradients in bfloat16


# torch answers for CUDA where nothing is said; here it answers for the device of this training, as on a GPU
AS_ON_A_GPU = """
import sys, torch
asked = torch.is_autocast_enabled
torch.is_autocast_enabled = lambda device="cpu": asked(device)
from moda.cli.main import main
sys.exit(main(["train", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_deepspeed_leaves_autocast_on_where_it_can_see_it(dataset: Path, tmp_path: Path) -> None:
    settings = (
        "strategy=deepspeed_2",
        "trainer.precision=bf16-mixed",
        "trainer.max_steps=2",
        f"run_dir={tmp_path}/run",
    )
    command = [sys.executable, "-c", AS_ON_A_GPU, *small_overrides("motion_vae", dataset, *settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(pieces(tmp_path / "run", "weights", step=2)) > 0


def test_process_groups_outlast_the_watchdog(compose_train) -> None:
    for name in ("ddp", "deepspeed_2"):
        config = compose_train("task=dit", "data.path=none", f"strategy={name}", "watchdog.first=5000")
        resources = Resources.of(config["trainer"], config["watchdog"])
        strategy = build({**config["strategy"], "_partial_": True})(resources=resources)
        assert strategy._timeout == timedelta(seconds=10_000)


def test_one_process_strategy_with_two_devices_is_refused(configure) -> None:
    with pytest.raises(UserError, match="strategy=single trains in one process.*use strategy=ddp"):
        train(configure("motion_vae", "run", "trainer.devices=2"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer.precision=bf16-true",), "trainer.precision=bf16-true: must be one of 32-true, bf16-mixed"),
        (("strategy=deepspeed_2", "strategy.stage=4"), "strategy.stage=4"),
        (("strategy=deepspeed_2", "strategy.offload=all"), "strategy.offload=all"),
        (("strategy=deepspeed_2", "trainer.precision=16-mixed"), "use bf16-mixed or 32-true"),
    ],
)
def test_settings_that_a_strategy_does_not_have_are_refused(
    configure, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(configure("motion_vae", "run", *overrides))
