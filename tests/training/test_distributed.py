"""Two real processes over gloo, started as a user starts them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_support import small_overrides

from moda.errors import UserError
from moda.training.metrics import read_metrics
from moda.training.run import train


def moda_train(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moda.cli.main", "train", *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def final_state(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints/step-6/state.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume(configure, tiny_dataset: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    shared = ("model.space=motion", "optimizer.final_factor=1")  # a rate that does not depend on max_steps
    train(configure("dit", "one", *shared))
    ddp = (*shared, f"run_dir={two}", "strategy=ddp", "trainer.devices=2", "data.batch_size=2")
    for steps in (3, 6):  # the second start resumes
        done = moda_train(*small_overrides("dit", tiny_dataset, *ddp, f"trainer.max_steps={steps}"))
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("resuming ") == done.stdout.count("trained ") == 1
    ours, theirs = read_metrics(one / "metrics.jsonl"), read_metrics(two / "metrics.jsonl")
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, other in zip(ours, theirs, strict=True):
        for name in {"train/loss", "val/loss"} & line.keys():
            assert other[name] == pytest.approx(line[name], rel=2e-3), (line["step"], name)
    alone, together = final_state(one), final_state(two)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=2e-3, msg=name)


def test_one_process_strategy_with_two_devices_is_refused(configure) -> None:
    with pytest.raises(UserError, match="strategy=single trains in one process.*use strategy=ddp"):
        train(configure("motion_vae", "run", "trainer.devices=2"))
