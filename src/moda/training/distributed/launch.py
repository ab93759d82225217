"""One process a device on this machine, started, signalled, watched and ended together.

``moda train`` with several devices becomes the parent of one process a device. Lightning would make it
rank 0 and the others its children; then a child that ends for any reason but success gets rank 0 killed, whatever
rank 0 is saving, and a stopped rank 0 leaves the others behind. Where a scheduler (SLURM, torchrun) starts the
processes this module does nothing.
"""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moda.errors import HANG, PREEMPTED, LostRank, UserError
from moda.outcome import OUTCOME, read_outcomes
from moda.training.distributed.resources import Resources, cores
from moda.training.faults.stop_signals import KNOWN, leave_if_alone, signals_of

GRACE = 10  # seconds that the other ranks have to end by themselves when one has failed
# what gloo and NCCL say when the other side of a collective operation has gone
LOST = (
    r"Connection (reset|closed) by peer|Connection refused|remote process exited|Timed out waiting \d+ms|"
    r"caused pair closure|NCCL error|unhandled system error"
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def processes_to_start(trainer: Mapping[str, Any], strategy: str = "") -> int:
    """How many ranks this process has to start; 1 means that it is itself the rank, or one of them.

    trainer: the settings under ``trainer``; strategy: the target of the one in use. Raises UserError for GPUs that torch
    does not see, and for several processes where the strategy is for one.
    """
    resources = Resources.of(trainer)
    if strategy.endswith(".single"):
        resources.require_one_process()
    by_slurm = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    if "LOCAL_RANK" in os.environ or by_slurm:  # as Lightning finds out
        return 1
    if resources.num_nodes > 1 and "MASTER_PORT" not in os.environ:
        raise UserError(
            f"trainer.num_nodes={resources.num_nodes}: start with moda submit or torchrun, or set MASTER_ADDR, "
            "MASTER_PORT and NODE_RANK on each node"
        )
    return resources.local_processes


def run_ranks(overrides: Sequence[str], processes: int, command: Sequence[str] = ("train",)) -> None:
    """Run ``moda COMMAND OVERRIDES`` as ``processes`` ranks and wait for them all.

    Signals that this process gets are handed on. Ends as the ranks did: raises what they raised (UserError,
    Preempted, KeyboardInterrupt), or SystemExit with the status of the first that failed.
    """
    leave_if_alone(1)  # a signal before there are any
    with tempfile.TemporaryDirectory(prefix="moda-") as folder:
        outcomes = [Path(folder) / f"rank-{rank}.json" for rank in range(processes)]
        family = _Family([*command, *overrides], outcomes)
        try:
            status = family.wait()
        finally:
            family.close()
        errors = read_outcomes(outcomes)
    if status in (1, PREEMPTED) and errors:
        raise errors[0]
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise SystemExit(status)


def lost_rank(error: RuntimeError, rank: int, step: int) -> LostRank | None:
    """The line for a collective operation whose other side has gone, if that is what ``error`` is."""
    found = re.search(LOST, str(error))
    if found is None:
        return None
    return LostRank(
        f"rank {rank} has lost another rank after step {step} ({found[0]}): see what that one has said; "
        "the same command goes on from the newest checkpoint"
    )


class _Family:
    """The ranks, each with its data workers in a process group of its own."""

    def __init__(self, arguments: Sequence[str], outcomes: Sequence[Path]):
        self._received: list[int] = []
        self._former = {signum: signal.getsignal(signum) for signum in (*signals_of(KNOWN), signal.SIGINT)}
        for signum in self._former:
            signal.signal(signum, lambda signum, frame: self._received.append(signum))
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "NODE_RANK": "0",
            "OMP_NUM_THREADS": str(max(1, cores() // len(outcomes))),  # torch would give all cores to each
            **os.environ,
        }
        command = [sys.executable, "-m", "moda.cli.main", *arguments]
        # The ranks inherit the block: what comes while they are being loaded waits until they take it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signals_of(KNOWN))
        self.ranks = [
            subprocess.Popen(
                command,
                env={**environment, "LOCAL_RANK": str(rank), OUTCOME: str(path)},
                stdin=subprocess.DEVNULL,
                process_group=0,  # the terminal's interrupt reaches this process alone, which hands it on once
                preexec_fn=_die_with(os.getpid()),
            )
            for rank, path in enumerate(outcomes)
        ]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals_of(KNOWN))

    def wait(self) -> int:
        """Status of the whole: 0, 85 where ranks were preempted, or that of the first that failed."""
        status, interrupted, deadline = 0, False, float("inf")
        while any(rank.poll() is None for rank in self.ranks):
            time.sleep(0.05)
            while self._received:
                signum = self._received.pop(0)
                if signum == signal.SIGINT and interrupted:
                    self.kill()  # the second interrupt of an impatient user
                interrupted = interrupted or signum == signal.SIGINT
                self._send(signum)
            if not status:
                status = self._failure()
                deadline = time.monotonic() + GRACE if status else deadline
            if time.monotonic() > deadline:
                self.kill()
        status = status or self._failure()
        if interrupted and status:
            return 130
        return status or max(_status(rank) for rank in self.ranks)

    def _failure(self) -> int:
        """Status of a rank that has failed, 0 if none; one that was killed explains others that lost it."""
        failed = {_status(rank): number for number, rank in enumerate(self.ranks) if rank.poll() is not None}
        failed = {status: number for status, number in failed.items() if status not in (0, PREEMPTED)}
        if not failed:
            return 0
        status = max(failed, key=lambda status: (status > 128, status == HANG))
        if status > 128 and status != 130:
            name = signal.Signals(status - 128).name
            print(
                f"moda train: rank {failed[status]} was ended by {name}, and the others with it; "
                "the same command goes on from the newest checkpoint",
                file=sys.stderr,
            )
        return status

    def _send(self, signum: int) -> None:
        for rank in self.ranks:
            rank.send_signal(signum)

    def close(self) -> None:
        """End what is left, data workers whose rank is gone too; the signals are what they were."""
        self.kill()
        for signum, handler in self._former.items():
            signal.signal(signum, handler)

    def kill(self) -> None:
        for rank in self.ranks:
            with suppress(ProcessLookupError):  # nothing is left of it
                os.killpg(rank.pid, signal.SIGKILL)


def _status(rank: subprocess.Popen[bytes]) -> int:
    """As a shell counts it."""
    code = rank.poll() or 0
    return code if code >= 0 else 128 - code


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _die_with(parent: int) -> Callable[[], None]:
    """For the child: end when the parent is killed, by a signal that cannot be held up (Linux)."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask
