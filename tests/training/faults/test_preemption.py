"""Signals: what the handler does, before training, in it, and to a command that is only starting."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from training_support import small_overrides

from moda.errors import Preempted, UserError
from moda.training import run
from moda.training.checkpoints.manifest import by_step
from moda.training.checkpoints.writer import CheckpointWriter
from moda.training.faults.stop_signals import StopSignals, leave_if_alone, stop_signals
from moda.training.tracking.metrics import read_metrics


def test_a_signal_sets_a_flag_and_the_former_handlers_come_back() -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    signals = StopSignals()
    with signals.taking(["SIGTERM", "SIGUSR2"]):
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGUSR2  # the first
        with signals.taking(["SIGUSR2"]):  # what is configured later may be less
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            assert signals.received == signal.SIGUSR2
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, former[signal.SIGTERM])
    assert signals.received is None
    assert former == {number: signal.getsignal(number) for number in former}


def test_a_signal_that_cannot_be_taken_is_refused(configure) -> None:
    with pytest.raises(UserError, match="preemption.signals: 'SIGKILL' cannot be taken; choose from SIGTERM, SIGUSR1"):
        run.train(configure("motion_vae", "run", "preemption.signals=[SIGKILL]"))


def test_before_training_one_process_leaves_at_once_and_one_of_several_waits_for_the_others() -> None:
    with stop_signals.taking(["SIGTERM"]):
        leave_if_alone(1)
        os.kill(os.getpid(), signal.SIGTERM)
        leave_if_alone(2)
        with pytest.raises(Preempted, match="SIGTERM before training began; run the same command again"):
            leave_if_alone(1)


class Fault(L.Callback):
    """Sends a signal to this process in a hook."""

    def __init__(self, hook: str, number: signal.Signals, step: int = 0):
        self.step = step
        setattr(self, hook, lambda trainer, *_: self.send(trainer, number))
        self.handlers: list[object] = []

    def send(self, trainer: L.Trainer, number: signal.Signals) -> None:
        self.handlers.append(signal.getsignal(signal.SIGTERM))
        if trainer.global_step == self.step:
            os.kill(os.getpid(), number)


def recorded(path: Path) -> dict[tuple[int, str], float]:
    """(step, name) -> what a training has computed."""
    numbers = ((int(line["step"]), *item) for line in read_metrics(path) for item in line.items())
    return {(step, name): value for step, name, value in numbers if name.startswith(("train/", "val/", "lr"))}


def with_callback(monkeypatch: pytest.MonkeyPatch, callback: L.Callback) -> None:
    make = run._trainer

    def trainer(*arguments) -> Any:
        made: Any = make(*arguments)
        made.callbacks.append(callback)
        return made

    monkeypatch.setattr(run, "_trainer", trainer)


@pytest.mark.parametrize(("number", "accumulate"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)])
def test_the_step_in_hand_is_finished_saved_and_then_left(configure, tmp_path, monkeypatch, number, accumulate) -> None:
    before = signal.getsignal(signal.SIGTERM)
    settings = ("checkpoint.every=100", f"trainer.accumulate_grad_batches={accumulate}")
    fault = Fault("on_train_batch_start", number, step=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Preempted) as caught:
        with_callback(patch, fault)
        run.train(configure("motion_vae", "run", *settings))
    assert (caught.value.signum, caught.value.step) == (number, 4)  # the flag travels for one step
    assert [path.name for path in by_step(tmp_path / "run/checkpoints")] == ["step-4"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert set(fault.handlers) == {stop_signals._note}  # Lightning's own was never there
    run.train(configure("motion_vae", "run", *settings))
    assert [path.name for path in by_step(tmp_path / "run/checkpoints")] == ["step-6", "step-4"]
    run.train(configure("motion_vae", "whole", *settings))
    run_, whole = (recorded(tmp_path / name / "metrics.jsonl") for name in ("run", "whole"))
    assert run_ == whole and {step for step, name in whole if name == "val/loss"} == {3, 6}


def test_a_signal_while_training_is_set_up_ends_it_before_the_first_step(configure, tmp_path, monkeypatch) -> None:
    with_callback(monkeypatch, Fault("on_fit_start", signal.SIGTERM))
    with pytest.raises(Preempted, match="SIGTERM before training began"):
        run.train(configure("motion_vae", "run"))
    assert not by_step(tmp_path / "run/checkpoints")


def test_a_second_signal_while_saving_is_no_harm(configure, tmp_path, monkeypatch) -> None:
    store = CheckpointWriter._store

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return store(*arguments)

    monkeypatch.setattr(CheckpointWriter, "_store", signalled)
    with_callback(monkeypatch, Fault("on_train_batch_start", signal.SIGTERM, step=1))
    with pytest.raises(Preempted):
        run.train(configure("motion_vae", "run"))
    assert [path.name for path in by_step(tmp_path / "run/checkpoints")] == ["step-3"]


@pytest.mark.slow
def test_a_command_that_is_only_starting_ends_with_85_or_not_at_all(tiny_dataset: Path, tmp_path: Path) -> None:
    arguments = small_overrides("motion_vae", tiny_dataset, f"run_dir={tmp_path / 'run'}")
    process = subprocess.Popen([sys.executable, "-m", "moda.cli.main", "train", *arguments], stderr=-1, text=True)
    deadline = time.monotonic() + 60
    while not _takes_sigterm(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()  # while torch and Lightning are imported
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 85, stderr
    assert stderr == "moda train: stopped by SIGTERM before training began; run the same command again to go on\n"


def _takes_sigterm(pid: int) -> bool:
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
