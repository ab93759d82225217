"""The parent of the processes of one machine, over two small programs in the place of ranks."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from moda.errors import Preempted, UserError
from moda.training.distributed import launch
from moda.training.distributed.launch import lost_rank, processes_to_start, run_ranks

RANK = """
import os, signal, sys, time
from moda.errors import LostRank, Preempted, UserError
from moda.outcome import leave_outcome
rank = int(os.environ["LOCAL_RANK"])
def end(error, status):
    leave_outcome(error)
    sys.exit(status)
"""


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """``ranks(source)`` runs two processes of that source, which knows ``rank`` and ``end(error, status)``."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)

    def run(source: str) -> None:
        program = tmp_path / "program"
        program.write_text(f"#!{sys.executable}\nfolder = {str(tmp_path)!r}\n{RANK}{source}")
        program.chmod(0o755)
        monkeypatch.setattr(launch.sys, "executable", str(program))
        run_ranks([], 2)

    return run


def test_all_well_is_silent(ranks, capfd) -> None:
    ranks("")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("given", "threads"), [(None, "8"), ("3", "3")])
def test_ranks_share_the_cores_unless_the_user_says_otherwise(ranks, monkeypatch, tmp_path, given, threads) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(launch, "cores", lambda: 16)
    ranks("open(f'{folder}/threads-{rank}', 'w').write(os.environ['OMP_NUM_THREADS'])")
    assert [(tmp_path / f"threads-{rank}").read_text() for rank in (0, 1)] == [threads] * 2


def test_an_error_that_all_ranks_have_is_said_once(ranks) -> None:
    with pytest.raises(UserError, match="^no such place$"):
        ranks("end(UserError('no such place'), 1)")


def test_the_rank_that_failed_is_heard_and_not_those_that_lost_it(ranks) -> None:
    with pytest.raises(UserError, match="^its disk is full$"):
        ranks("end(UserError('its disk is full') if rank else LostRank('rank 0 has lost another rank'), 1)")
    broken = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer. GLHF!")
    assert "rank 3 has lost another rank after step 7" in str(lost_rank(broken, 3, 7))
    for said in (
        "[/gloo/transport/tcp/unbound_buffer.cc:88] Timed out waiting 1800000ms for recv operation to complete",
        "NCCL error in: ProcessGroupNCCL.cpp:2092, unhandled system error (run with NCCL_DEBUG=INFO for details)",
    ):
        assert "has lost another rank" in str(lost_rank(RuntimeError(said), 3, 7))
    assert lost_rank(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 3, 7) is None


def test_a_rank_that_fails_takes_the_waiting_ones_with_it(ranks, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "GRACE", 0.2)
    source = "open(f'{folder}/pid-{rank}', 'w').write(str(os.getpid()))\ntime.sleep(600 if rank else 0.3)\nsys.exit(86)"
    with pytest.raises(SystemExit) as caught:
        ranks(source)
    assert caught.value.code == 86
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid-1").read_text()), 0)


def test_a_rank_that_was_killed_is_named(ranks, capfd) -> None:
    source = "os.kill(os.getpid(), signal.SIGKILL) if rank else time.sleep(0.5)\nsys.exit(1)"
    with pytest.raises(SystemExit) as caught:
        ranks(source)
    assert caught.value.code == 137
    assert "rank 1 was ended by SIGKILL" in capfd.readouterr().err


def test_signals_are_handed_on_even_to_ranks_that_do_not_take_them_yet(ranks) -> None:
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)
    source = """
if rank == 0:
    os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(0.5)  # the signal is there and waits
taken = []
signal.signal(signal.SIGUSR1, lambda number, frame: taken.append(number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
end(Preempted(taken[0], 7), 85)
"""
    with pytest.raises(Preempted) as caught:
        ranks(source)
    assert (caught.value.signum, caught.value.step) == (signal.SIGUSR1, 7)
    assert before == (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT))


def test_an_interrupt_is_the_users(ranks) -> None:
    source = """
try:
    if rank == 0:
        os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with pytest.raises(KeyboardInterrupt):
        ranks(source)


def test_who_starts_the_processes(monkeypatch) -> None:
    for name in ("LOCAL_RANK", "SLURM_NTASKS", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    four = {"devices": 4, "num_nodes": 1, "accelerator": "cpu", "precision": "32-true"}
    assert processes_to_start(four) == 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert processes_to_start({**four, "devices": [0, 2], "accelerator": "gpu"}) == 2
    assert processes_to_start({**four, "devices": "auto"}) == 1
    with pytest.raises(UserError, match="trainer.num_nodes=2: start with moda submit"):
        processes_to_start({**four, "num_nodes": 2})
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_NTASKS", "4")  # under srun, one process is one rank
        patch.setenv("SLURM_JOB_NAME", "train")
        assert processes_to_start(four) == 1
        patch.setenv("SLURM_JOB_NAME", "interactive")
        assert processes_to_start(four) == 4
    with pytest.raises(UserError, match="strategy=single trains in one process, but the trainer asks for 4"):
        processes_to_start(four, "moda.training.distributed.strategies.single")  # said before four are started
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes_to_start(four) == 1
