"""Reader processes: signals, threads, and how their failures arrive."""

import os
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
import torch
from data_support import rewrite, spoil_all, stream
from torch.utils.data import IterableDataset

from moda.data.workers import ReaderLoader, user_error_of
from moda.errors import UserError


class Reader(IterableDataset):
    """Says who it is, as often as it is asked."""

    def __iter__(self):
        while True:
            yield {"pid": os.getpid(), "threads": torch.get_num_threads()}


def send_from_elsewhere(number: signal.Signals, pid: int) -> None:
    """As a batch system does: the signal comes from a process that is not the reader's parent."""
    sender = os.fork()
    if sender == 0:
        os.kill(pid, number)
        os._exit(0)
    os.waitpid(sender, 0)


def test_readers_ignore_the_signals_of_their_rank_and_use_one_thread() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    try:
        batches = iter(ReaderLoader(Reader(), num_workers=1, prefetch_factor=1))
        first = next(batches)
        assert first["threads"] == 1
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            send_from_elsewhere(number, first["pid"])
        assert {batch["pid"] for batch in islice(batches, 5)} == {first["pid"]}
        assert handled == []
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_the_training_process_can_end_its_readers() -> None:
    loader = ReaderLoader(Reader(), num_workers=1, prefetch_factor=1)
    batches = iter(loader)
    pid = next(batches)["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not ended(pid):
        time.sleep(0.01)
    assert ended(pid)


def ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody has asked before
        return True


KILLED = """
import os, signal, sys
from torch.utils.data import IterableDataset
from moda.data.workers import ReaderLoader
from moda.errors import UserError

class Killed(IterableDataset):
    def __iter__(self):
        yield {"number": 1}
        os.kill(os.getpid(), signal.SIGKILL)

try:
    list(ReaderLoader(Killed(), num_workers=2, prefetch_factor=1))
except UserError as error:
    sys.exit(f"error: {error}")
"""


def test_a_reader_that_dies_is_one_clear_line() -> None:
    # In a process of its own: torch reports a dead reader wherever the process then stands.
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a process that reads the data died (DataLoader worker (pid")
    assert "lower data.num_workers or data.cache_mb" in line


def test_a_users_error_in_a_reader_is_its_one_line(make_dataset) -> None:
    root = make_dataset()
    for shard in range(3):
        rewrite(root, spoil_all, shard)
    with pytest.raises(UserError, match="^/.*sample '.*': audio.npy cannot be read .*; prepare it again$") as caught:
        list(ReaderLoader(stream(root), num_workers=1, prefetch_factor=1))
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_the_users() -> None:
    assert user_error_of(RuntimeError("CUDA error")) is None
    assert user_error_of(UserError("a line")) is None
    killed = RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. \nIt is possible that")
    assert "(DataLoader worker (pid 12) is killed by signal: Killed)" in str(user_error_of(killed))


def test_the_readers_end_with_the_loader() -> None:
    loader = ReaderLoader(Reader(), num_workers=1, prefetch_factor=1)
    batches = iter(loader)
    pid = next(batches)["pid"]
    del batches, loader
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
