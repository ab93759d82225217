"""Checkpoints that a thread writes while training goes on: the same files, the same errors."""

import threading
from pathlib import Path

import pytest

from moda.errors import UserError
from moda.files import read_json
from moda.training import run
from moda.training.checkpoints import writer as writing
from moda.training.checkpoints.background import BackgroundWork
from moda.training.checkpoints.manifest import MANIFEST, by_step, damage
from moda.training.checkpoints.writer import CheckpointWriter

SETTINGS = ("checkpoint.every=1", "checkpoint.keep=6", "trainer.val_check_interval=3")
BACKGROUND = "checkpoint.background=true"
CLOCKS = {"trainer.json"}  # hold times


def files_of(checkpoint: Path) -> dict[str, str]:
    files = read_json(checkpoint / MANIFEST)["files"]
    return {name: known["sha256"] for name, known in files.items() if name not in CLOCKS}


def test_what_is_written_in_the_background_is_what_was_there_at_its_step(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "waiting", *SETTINGS))
    run.train(configure("motion_vae", "beside", *SETTINGS, BACKGROUND))
    for step in range(1, 7):
        waiting, beside = (tmp_path / name / f"checkpoints/step-{step}" for name in ("waiting", "beside"))
        assert damage(beside) is None and files_of(waiting) == files_of(beside)


def test_training_goes_on_while_a_checkpoint_is_written(configure, tmp_path, monkeypatch) -> None:
    step, go_on, write, missing = [0], threading.Event(), writing.write_pieces, []

    def slow(directory: Path, *arguments):
        if directory.name == ".step-2.tmp":
            assert go_on.wait(60)
        return write(directory, *arguments)

    def look(self, trainer, *_) -> None:
        step[0] = trainer.global_step
        if step[0] == 3:  # trained while step 2 is not written
            missing.append(not (tmp_path / "vae/checkpoints/step-2").exists())
            go_on.set()

    monkeypatch.setattr(writing, "write_pieces", slow)
    monkeypatch.setattr(CheckpointWriter, "on_before_zero_grad", look)
    run.train(configure("motion_vae", "vae", "checkpoint.every=2", "checkpoint.keep=3", BACKGROUND))
    assert missing == [True]
    assert [path.name for path in by_step(tmp_path / "vae/checkpoints")] == ["step-6", "step-4", "step-2"]


def test_a_disk_that_fills_up_in_the_background_ends_the_training_soon(configure, tmp_path, monkeypatch) -> None:
    def full(*arguments):
        raise OSError(28, "No space left on device")

    steps: list[int] = []
    monkeypatch.setattr(
        CheckpointWriter, "on_before_zero_grad", lambda self, trainer, *_: steps.append(trainer.global_step)
    )
    monkeypatch.setattr(writing, "write_pieces", full)
    with pytest.raises(UserError, match=r"^cannot write checkpoint .*step-3.*No space left.*free space, then"):
        run.train(configure("motion_vae", "vae", "trainer.max_steps=200", "checkpoint.every=3", BACKGROUND))
    assert max(steps) < 7, "the next save at the latest"
    assert list((tmp_path / "vae/checkpoints").iterdir()) == []


def test_an_export_that_fails_in_the_background_is_said(configure, monkeypatch) -> None:
    def fail(directory: Path, export) -> None:
        raise UserError("no export today")

    monkeypatch.setattr(run, "write_export", fail)
    with pytest.raises(UserError, match="no export today"):
        run.train(configure("motion_vae", "vae", "checkpoint.every=2", BACKGROUND))


def test_a_programming_error_in_the_background_is_raised_as_it_is(configure, monkeypatch) -> None:
    monkeypatch.setattr(writing, "write_pieces", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.train(configure("motion_vae", "vae", "checkpoint.every=2", BACKGROUND))


def test_an_error_leaves_when_the_checkpoint_in_hand_is_whole(configure, tmp_path, monkeypatch) -> None:
    def fail(self, trainer, *_) -> None:
        if trainer.global_step == 2:
            raise UserError("something else")

    store = CheckpointWriter._store

    def slow(*arguments) -> None:
        threading.Event().wait(0.3)
        store(*arguments)

    monkeypatch.setattr(CheckpointWriter, "_store", slow)
    monkeypatch.setattr(CheckpointWriter, "on_before_zero_grad", fail)
    with pytest.raises(UserError, match="something else"):
        run.train(configure("motion_vae", "vae", "checkpoint.every=2", BACKGROUND))
    (checkpoint,) = by_step(tmp_path / "vae/checkpoints")
    assert checkpoint.name == "step-2" and damage(checkpoint) is None


def test_work_raises_once_what_it_has_raised() -> None:
    work = BackgroundWork()
    work.join()  # nothing to wait for
    work.start(lambda: (_ for _ in ()).throw(UserError("late")))
    work.wait()
    assert isinstance(work.problem, UserError)
    with pytest.raises(UserError, match="late"):
        work.join()
    work.start(lambda: None)
    work.join()
    assert work.problem is None
