"""A training killed after a checkpoint and started again, against two that nothing happened to: bit by bit.

The two tell whether the device computes the same twice at all: a kernel that adds up in any order does not,
and then a resumed run cannot either.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting
from moda.training.checkpoints.consolidate import weights_of
from moda.training.checkpoints.manifest import by_step
from moda.training.tracking.metrics import METRICS_NAME, read_metrics


@dataclass(frozen=True)
class Length:
    """Steps of a run, and after how many a checkpoint is written: the first one is followed by the kill."""

    steps: int
    every: int


LENGTHS = {"cuda": Length(60, 20), "cpu": Length(12, 4)}
# name -> settings beside those of all: by the worth of knowing it
LAYOUTS = {
    "single": (),
    "deepspeed_2": ("strategy=deepspeed_2",),
    "single, deterministic": ("+trainer.deterministic=true",),
    "single, compiled": ("compile=true",),
}
ON_CPU = ("single", "deepspeed_2")  # the others are about kernels of a GPU
POLL = 0.005  # seconds


def resume(setting: Setting, results: Results) -> None:
    """The demo network in bf16-mixed; on a GPU all layouts at once, as each is small."""
    names = setting.variants(tuple(LAYOUTS) if setting.on_gpu else ON_CPU)
    if not find_spec("deepspeed"):
        results.note("deepspeed_2: skipped, deepspeed is not installed")
        names = [name for name in names if "deepspeed" not in name]
    setting.dataset("demo")  # before several ask for it
    results.fact(network="demo", precision="bf16-mixed", **vars(LENGTHS[setting.kind]))
    with ThreadPoolExecutor(len(names) if setting.on_gpu else 1) as pool:
        running = {pool.submit(_layout, setting, name): name for name in names}
        for done in as_completed(running):
            with results.attempt(running[done]):
                results.row(layout=running[done], **done.result())


def _layout(setting: Setting, name: str) -> dict[str, Any]:
    folder = setting.scratch / "resume" / re.sub(r"\W+", "-", name)
    shutil.rmtree(folder, ignore_errors=True)
    runs = [_Run(setting, folder / run, LAYOUTS[name]) for run in ("whole", "again", "killed")]
    with ThreadPoolExecutor(3) as pool:
        whole, again, killed = runs
        waiting = [pool.submit(whole.train), pool.submit(again.train), pool.submit(killed.train_twice)]
        _, _, resumed = [one.result() for one in waiting]
    return {
        **resumed,
        "same_without_a_kill": (control := differences(whole.outcome(), again.outcome())) is None,
        "same_after_the_kill": (found := differences(whole.outcome(), killed.outcome())) is None,
        "difference_without_a_kill": control,
        "difference_after_the_kill": found,
    }


class _Run:
    """One run directory and the processes that train in it, one after the other."""

    def __init__(self, setting: Setting, folder: Path, settings: tuple[str, ...]):
        self.folder, length = folder, LENGTHS[setting.kind]
        common = (
            f"run_dir={folder}", f"trainer.max_steps={length.steps}", "trainer.log_every_n_steps=1", "compile=false",
            f"trainer.val_check_interval={length.every}", f"checkpoint.every={length.every}", "checkpoint.keep=9",
            "data.batch_size=8", f"data.num_workers={int(setting.on_gpu)}", "data.val_windows=32",
        )  # fmt: skip
        self.overrides = setting.overrides("demo", *common, *settings)

    def train(self) -> str:
        """Until it ends; what it said. Raises RuntimeError with its last line."""
        process = self._start()
        said, _ = process.communicate()
        if process.returncode:
            print(said, file=sys.stderr, flush=True)
            last = said.strip().splitlines()[-1:] or ["no output"]
            raise RuntimeError(f"moda train ended with status {process.returncode}: {last[0]}")
        return said

    def train_twice(self) -> dict[str, Any]:
        """Until a checkpoint is there, then SIGKILL; and from there to the end."""
        process = self._start()
        while process.poll() is None and not by_step(self.folder / "checkpoints"):
            time.sleep(POLL)
        process.kill()
        said, _ = process.communicate()
        if process.returncode != -9:
            print(said, file=sys.stderr, flush=True)
            raise RuntimeError(f"the training ended with status {process.returncode} before it could be killed")
        steps = [line["step"] for line in read_metrics(self.folder / METRICS_NAME) if "train/loss" in line]
        resumed = re.search(r"from step (\d+)", self.train())
        return {"killed_after_step": max(steps), "resumed_from_step": int(resumed[1]) if resumed else 0}

    def _start(self) -> "subprocess.Popen[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4"}  # of several at once
        command = [sys.executable, "-m", "moda.cli.main", "train", *self.overrides]
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outcome(self) -> dict[str, Any]:
        """What is recorded at each step, in their order, then the weights after the last and their average."""
        numbers = {
            f"{name} of step {line['step']}": value
            for line in read_metrics(self.folder / METRICS_NAME)
            for name, value in line.items()
            if name.startswith(("train/", "val/", "lr"))
        }
        newest = by_step(self.folder / "checkpoints")[0]
        averaged = {f"average of {name}": value for name, value in weights_of(newest).items()}
        return numbers | {f"weight {name}": value for name, value in weights_of(newest, None).items()} | averaged


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """The first entry that differs, of how many, and by how much weights do at most; None where all bits are the same."""
    if ours.keys() != theirs.keys():
        return f"recorded by one alone: {', '.join(sorted(ours.keys() ^ theirs.keys())[:3])}"
    unlike = [name for name in ours if not _equal(ours[name], theirs[name])]
    if not unlike:
        return None
    tensors = [name for name in unlike if torch.is_tensor(ours[name])]
    most = max((float((ours[name].float() - theirs[name].float()).abs().max()) for name in tensors), default=0.0)
    return f"{len(unlike)} of {len(ours)}, first {unlike[0]}; weights by up to {most:.3g}"


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if torch.is_tensor(one) else one == other
