"""The evaluations of a study's trials, each a process; one that is done is not done again.

SWEEP/evaluation/VARIANT-seedS/   results.json and the page of one trial under its variant's protocol
SWEEP/evaluation/baselines/       the same clips' baselines, on the first trial
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moda.errors import UserError
from moda.files import read_json, write_json
from moda.interop.export import EXPORT_NAME
from moda.overrides import quoted
from moda.progress import progress
from moda.sweep.local import reason_in

REQUEST = "request.json"


@dataclass(frozen=True)
class Scoring:
    """One evaluation: the run, the overrides of moda evaluate, where its results go."""

    name: str
    run: Path
    overrides: tuple[str, ...]
    out: Path

    def request(self) -> dict[str, Any]:
        """What its numbers depend on: the settings, and the export, which names its weights by their hashes."""
        export = (self.run / "export" / EXPORT_NAME).read_bytes()
        return {"overrides": list(self.overrides), "export": hashlib.sha256(export).hexdigest()}

    @property
    def done(self) -> bool:
        known = self.out / REQUEST
        return (self.out / "results.json").is_file() and known.is_file() and read_json(known) == self.request()


def run_scorings(
    scorings: Sequence[Scoring], logs: Path, jobs: int, say: Callable[[str], None] = print
) -> list[Scoring]:
    """Evaluate what is not evaluated yet, ``jobs`` at a time; says which failed and why, and returns them."""
    todo = [scoring for scoring in scorings if not scoring.done]
    say(f"evaluations: {len(scorings)}, {len(scorings) - len(todo)} already done")
    logs.mkdir(parents=True, exist_ok=True)
    failed = []
    pool = ThreadPoolExecutor(jobs)
    try:
        with progress("evaluating", len(todo), "trials") as advance:
            for scoring, reason in zip(todo, pool.map(lambda one: _run(one, logs), todo), strict=True):
                if reason:
                    failed.append(scoring)
                    say(f"evaluation {scoring.name} failed: {reason}")
                advance()
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt nothing more is started
    return failed


def _run(scoring: Scoring, logs: Path) -> str:
    """Why it failed; empty where it did not."""
    log = logs / f"evaluate-{scoring.name}.txt"
    request = scoring.request()
    places = [f"run={quoted(str(scoring.run))}", f"out={quoted(str(scoring.out))}"]
    command = [sys.executable, "-m", "moda.cli.main", "evaluate", "protocol=motion", *places, *scoring.overrides]
    with open(log, "w") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    if code:
        return reason_in(log)
    write_json(scoring.out / REQUEST, request)
    return ""


def results_in(scoring: Scoring) -> dict[str, Any]:
    """What its evaluation wrote. Raises UserError where there is nothing."""
    if not scoring.done:
        raise UserError(f"{scoring.out} holds no results of {scoring.name}; run the sweep again")
    return read_json(scoring.out / "results.json")
