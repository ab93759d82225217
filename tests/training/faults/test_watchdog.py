"""A process that does nothing any more: who is ended, and what is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from moda.errors import HANG, UserError
from moda.training.faults.watchdog import Watchdog

HANGING = """
import multiprocessing, sys, time
from types import SimpleNamespace
from moda.training.faults.watchdog import Watchdog

def reader():
    time.sleep(600)

def stuck_in_c():
    import ctypes
    ctypes.CDLL(None).sleep(600)  # as a collective call whose other side is gone

child = multiprocessing.get_context("fork").Process(target=reader, daemon=True)
child.start()
print(child.pid, flush=True)
dog = Watchdog(sys.argv[1], timeout=0.4, first=30)
dog.start()
for step in range(8):
    time.sleep(0.15)
    dog.on_train_batch_start(SimpleNamespace(global_step=step))
    dog.on_train_batch_end(SimpleNamespace(global_step=step + 1))
dog.on_validation_batch_start(SimpleNamespace(global_step=step + 1))
stuck_in_c()
"""


def alive(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rsplit(") ", 1)[1][0] != "Z"


@pytest.mark.slow
def test_a_hang_in_c_is_dumped_and_ended_with_its_children(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    commands = [[sys.executable, "-c", HANGING, str(tmp_path / place)] for place in ("hangs", "file")]
    writes, cannot_write = (subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for command in commands)

    child, stderr = writes.communicate(timeout=60)
    stacks = (tmp_path / "hangs/rank-0.txt").read_text()
    assert writes.returncode == HANG == 86
    assert "no progress for" in stacks and "validating after step 8" in stacks and "in stuck_in_c" in stacks
    assert "in stuck_in_c" in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("moda train: rank 0 has made no progress") and last.endswith("ending with status 86")
    assert not alive(int(child))

    _, stderr = cannot_write.communicate(timeout=60)
    assert cannot_write.returncode == HANG and "in stuck_in_c" in stderr and "cannot be written" in stderr


def test_zero_is_never_and_a_strange_time_is_refused(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path, timeout=0, first=0)
    dog.start()
    assert dog._thread is None
    dog.stop()
    for timeout, first in ((-1, 10), (20, 10)):
        with pytest.raises(UserError, match="needs 0 <= timeout <= first"):
            Watchdog(tmp_path, timeout, first)
