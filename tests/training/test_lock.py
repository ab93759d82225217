"""A run directory that another process trains in, and one whose process is gone."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from training_support import small_overrides

from moda.errors import UserError
from moda.training import lock, run
from moda.training.lock import run_lock

HOLD = """
import os, sys, time
from pathlib import Path
from moda.training.lock import run_lock
with run_lock(Path(sys.argv[1])):
    child = os.fork() if sys.argv[2] == "and a reader" else None
    if child != 0:
        print(child, flush=True)
    time.sleep(600)
"""

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """``hold(run_dir)``: another process that holds the lock when it returns; ``reader``: it has a forked child."""
    started: list[subprocess.Popen[str]] = []

    def start(run_dir: Path, reader: bool = False, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(run_dir), "and a reader" if reader else "alone"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_training_is_refused_by_name_until_the_first_is_gone_however_it_went(
    configure, tmp_path, hold: Hold
) -> None:
    run_dir = tmp_path / "vae"
    other = hold(run_dir, SLURM_JOB_ID="99", SLURM_ARRAY_JOB_ID="98", SLURM_ARRAY_TASK_ID="7")
    said(other)
    with pytest.raises(UserError) as refused:
        run.train(configure("motion_vae", "vae"))
    holder = rf"by process {other.pid} on {re.escape(os.uname().nodename)} \(SLURM job 98_7\) since [-\d]+ [:\d]+"
    assert re.fullmatch(rf"{re.escape(str(run_dir))} is being trained already {holder}; .*", str(refused.value))
    assert not (run_dir / "config.yaml").exists()
    other.kill()
    other.wait()
    run.train(configure("motion_vae", "vae"))
    with run_lock(run_dir):  # it has let go
        pass


def test_a_data_worker_that_outlives_its_killed_rank_holds_nothing(tmp_path, hold: Hold) -> None:
    other = hold(tmp_path, reader=True)
    reader = int(said(other))
    try:
        with pytest.raises(UserError, match="is being trained already by process"), run_lock(tmp_path):
            pass
        other.kill()
        other.wait()
        os.kill(reader, 0)  # it lives
        with run_lock(tmp_path):
            pass
    finally:
        os.kill(reader, signal.SIGKILL)


def test_a_holder_that_has_not_written_its_name_yet_is_refused_without_one(tmp_path, hold: Hold) -> None:
    said(hold(tmp_path))
    (tmp_path / lock.LOCK_NAME).write_text("")
    with pytest.raises(UserError, match="is being trained already; wait for it"), run_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match="a file system without locks: make sure that no other"), run_lock(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*; choose another run_dir="), run_lock(tmp_path / "file"):
        pass


@pytest.mark.slow
def test_all_ranks_end_where_the_first_is_refused(tiny_dataset, tmp_path, hold: Hold) -> None:
    said(hold(tmp_path / "run"))
    overrides = small_overrides(
        "motion_vae", tiny_dataset, f"run_dir={tmp_path / 'run'}", "strategy=ddp", "trainer.devices=2"
    )
    command = [sys.executable, "-m", "moda.cli.main", "train", *overrides]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"moda train: error: {tmp_path / 'run'} is being trained already by process ")
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""
