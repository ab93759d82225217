"""The cluster's queue: what is in it, and one job more."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from moda.errors import UserError


def queued(script: Path) -> list[str]:
    """What of ``script`` is waiting or running, as ``12 (RUNNING)``; the same for jobs submitted by hand."""
    lines = _run(["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%T|%o"]).splitlines()
    jobs = [line.split("|", 2) for line in lines if line.count("|") >= 2]
    return [f"{number} ({state})" for number, state, command in jobs if command == str(script)]


def refuse_second(script: Path, what: str) -> None:
    """Two jobs that write to one place at once would spoil it."""
    jobs = queued(script)
    if jobs:
        number = jobs[0].split()[0].split("_")[0]
        raise UserError(f"{what} is in the queue already as job {', '.join(jobs)}; wait for it, or: scancel {number}")


def submit(script: Path) -> str:
    """Submit ``script``; returns the job's id.

    sbatch hands the environment on. From inside of a job, as an interactive one, that would be its memory, number of
    restarts and place in an array, all of which the script and srun would take for the new job's own.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    return _run(["sbatch", "--parsable", str(script)], kept).strip().split(";")[0]


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise UserError(f"{command[0]} is not on this machine; submit where SLURM is, or only write with --dry-run")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        raise UserError(f"{command[0]} refused: {reason}")
    return done.stdout
