"""Trials as processes of this machine."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from moda.errors import UserError
from moda.progress import progress
from moda.sweep.ledger import FINISHED, Ledger, Plan, Status


def run_trials(
    ledger: Ledger, plan: Plan, places: Sequence[int], jobs: int, say: Callable[[str], None] = print
) -> None:
    """Run the trials at ``places`` that are not finished yet, ``jobs`` at a time."""
    if jobs < 1:
        raise UserError(f"sweep.jobs={jobs}: must be at least 1")
    with ledger.lock() as held:
        todo = [index for index in places if not ledger.is_finished(index)]
        say(f"sweep {ledger.directory}: {len(places)} trials, {len(places) - len(todo)} already done")
        pool = ThreadPoolExecutor(jobs)
        try:
            running = [pool.submit(_run, ledger, plan, index, jobs, held) for index in todo]
            with progress(f"sweep {ledger.directory.name}", len(todo), "trials") as advance:
                for future in as_completed(running):
                    status = future.result()
                    if status.state not in FINISHED:
                        say(f"{status.name} {status.state} ({describe(status)}): {status.reason}")
                    advance()
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt nothing more is started


def describe(status: Status) -> str:
    """The swept settings of a trial, as ``key=value``."""
    return ", ".join(f"{key}={value}" for key, value in status.axes.items()) or "no swept setting"


def _run(ledger: Ledger, plan: Plan, index: int, jobs: int, held: int) -> Status:
    status = ledger.begin(index, plan)
    if status.state in FINISHED:
        return status
    # not inside the run directory, which training wants empty or its own
    log = ledger.directory / "logs" / f"{status.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    command = [sys.executable, "-m", "moda.cli.main", "sweep-trial", str(ledger.directory), str(index), "run"]
    with open(log, "w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, pass_fds=(held,))
    return ledger.end(index, done.returncode, plan, reason_in(log) if done.returncode else "")


def reason_in(log: Path) -> str:
    """The line of a log that says what went wrong: moda's own, else the last."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line.lower()]
    return (errors or lines or ["no output"])[-1] + f" (see {log})"
