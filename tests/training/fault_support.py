"""A training in processes of its own, with faults let in, and what it leaves to compare."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from training_support import small_overrides

from moda.training.checkpoints.consolidate import weights_of
from moda.training.checkpoints.manifest import by_step
from moda.training.tracking.metrics import read_metrics

PLUGIN = Path(__file__).parent / "fault_plugin"
STEPS = 8
EIGHT_STEPS = (
    f"trainer.max_steps={STEPS}", "trainer.val_check_interval=4", "checkpoint.every=2", "checkpoint.keep=4",
)  # fmt: skip


class Trajectory:
    """One run directory and the processes that train in it, one after the other."""

    def __init__(self, folder: Path, dataset: Path, *settings: str):
        self.run_dir, self.samples_dir = folder / "run", folder / "samples"
        self.samples_dir.mkdir(parents=True)
        self.overrides = small_overrides("motion_vae", dataset, *EIGHT_STEPS, f"run_dir={self.run_dir}", *settings)

    def train(self, *more: str, **fault: Any) -> subprocess.CompletedProcess[str]:
        """``moda train`` as a user starts it; ``fault``: see faults/moda_faults.py."""
        process = self._start(*more, **fault)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kill(self, step: int, delay: float, *more: str) -> int:
        """Train and, ``delay`` seconds after ``step`` has been trained on, SIGKILL, wherever that falls; the status."""
        seen = len(self._lines(0))
        process = self._start(*more)
        while process.poll() is None and all(line["step"] < step for line in self._lines(0)[seen:]):
            time.sleep(0.02)
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=60)
        return process.returncode

    def _start(self, *more: str, **fault: Any) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "MODA_FAULT": json.dumps(fault),
            "MODA_SAMPLES": str(self.samples_dir),
        }
        command = [sys.executable, "-m", "moda.cli.main", "train", *self.overrides, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def _lines(self, rank: int) -> list[dict[str, Any]]:
        """What ``rank`` has trained on, over all starts."""
        path = self.samples_dir / f"rank-{rank}.jsonl"
        whole = path.read_text().split("\n")[:-1] if path.is_file() else []
        return [json.loads(text) for text in whole]

    @property
    def checkpoints(self) -> list[str]:
        return [path.name for path in by_step(self.run_dir / "checkpoints")]

    def newest(self) -> Path:
        return by_step(self.run_dir / "checkpoints")[0]

    def numbers(self) -> dict[tuple[int, str], float]:
        """(step, name) -> what was recorded, but for what a clock or a memory has measured."""
        return {
            (int(line["step"]), name): value
            for line in read_metrics(self.run_dir / "metrics.jsonl")
            for name, value in line.items()
            if name.startswith(("train/", "val/", "lr"))
        }

    def samples(self) -> dict[tuple[int, int], list[Any]]:
        """(rank, step) -> keys and starts; a step that was trained on again had the same."""
        seen: dict[tuple[int, int], list[Any]] = {}
        for rank in range(len(list(self.samples_dir.glob("rank-*.jsonl")))):
            for line in self._lines(rank):
                what = [line["keys"], line["starts"]]
                assert seen.setdefault((rank, line["step"]), what) == what, (rank, line["step"])
        return seen

    def weights(self) -> dict[str, torch.Tensor]:
        """After the last step: those trained, and their average."""
        checkpoint = self.run_dir / f"checkpoints/step-{STEPS}"
        averaged = {f"ema/{name}": value for name, value in weights_of(checkpoint).items()}
        return weights_of(checkpoint, None) | averaged

    def pids(self) -> list[int]:
        """Of the ranks of the last start."""
        return [int(path.read_text()) for path in self.samples_dir.glob("pid-*")]


def assert_same(one: Trajectory, other: Trajectory) -> None:
    """Samples, losses and weights, to the bit."""
    assert one.samples() == other.samples()
    assert {step for step, _ in one.numbers()} == set(range(1, STEPS + 1))
    assert one.numbers() == other.numbers()
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=0, msg=name)


def alive(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rsplit(") ", 1)[1][0] != "Z"
