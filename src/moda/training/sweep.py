"""A grid of trainings as processes of their own, and one table of what they reached."""

import csv
import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from moda.errors import UserError
from moda.files import atomic_path, read_json, write_json
from moda.progress import progress
from moda.training.metrics import METRICS_NAME, last_metrics

MANIFEST = "manifest.json"
RESERVED = ("run_dir", "name", "resume")  # the sweep gives each trial its own place


@dataclass(frozen=True)
class Trial:
    """One point of the grid. ``axes``: the swept settings; ``overrides``: all of them, as on a command line."""

    axes: Mapping[str, str]
    overrides: tuple[str, ...]
    run_dir: Path

    @property
    def name(self) -> str:
        return self.run_dir.name


def split_overrides(argv: Iterable[str], own: str = "sweep.") -> tuple[list[str], list[str]]:
    """(arguments of the sweep, overrides of its trials); flags as ``--help`` are the sweep's."""
    arguments = list(argv)
    ours = [text for text in arguments if text.lstrip("+~").startswith((own, "-", "hydra"))]
    return ours, [text for text in arguments if text not in ours]


def expand(overrides: Iterable[str], directory: Path) -> list[Trial]:
    """Every combination of the values in ``overrides`` (Hydra's sweep syntax), last axis fastest.

    A trial's directory is named by a hash of its settings, so a wider grid finds the trials it shares.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(f"cannot read {error.override!r}: {str(error.message).splitlines()[0]}") from error
    choices: list[list[tuple[str, str, bool]]] = []  # for each override: (key, text, is an axis)
    for override in parsed:
        key, text = override.get_key_element().lstrip("+~"), str(override.input_line)
        if key in RESERVED:
            raise UserError(
                f"{key} cannot be set in a sweep, each trial has its own; name the sweep with sweep.name=..."
            )
        if override.is_sweep_override():
            prefix = text.split("=", 1)[0]  # keeps + and @package as they were written
            values = [(key, f"{prefix}={value}", True) for value in override.sweep_string_iterator()]
        else:
            values = [(key, text, False)]
        choices.append(values)
    return [_trial(combination, directory) for combination in itertools.product(*choices)]


def _trial(combination: tuple[tuple[str, str, bool], ...], directory: Path) -> Trial:
    texts = tuple(text for _, text, _ in combination)
    axes = {key: text.split("=", 1)[1] for key, text, swept in combination if swept}
    digest = hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:10]
    return Trial(axes, texts, directory / f"trial-{digest}")


class Sweep:
    """Runs trials under ``directory``; ``manifest.json`` there remembers which are done."""

    def __init__(self, directory: Path, trials: list[Trial], jobs: int):
        if jobs < 1:
            raise UserError(f"sweep.jobs={jobs}: must be at least 1")
        self.directory, self.trials, self.jobs = directory, trials, jobs
        path = directory / MANIFEST
        known = read_json(path)["trials"] if path.is_file() else {}
        self.states: dict[str, dict[str, Any]] = dict(known)

    def run(self, say: Callable[[str], None] = print) -> list[Trial]:
        """Run what is not done yet; returns the trials that failed."""
        todo = [trial for trial in self.trials if not self._is_done(trial)]
        say(f"sweep {self.directory}: {len(self.trials)} trials, {len(self.trials) - len(todo)} already done")
        failed = []
        pool = ThreadPoolExecutor(self.jobs)
        try:
            running = {pool.submit(self._run_trial, trial): trial for trial in todo}
            with progress(f"sweep {self.directory.name}", len(todo), "trials") as advance:
                for future in as_completed(running):
                    trial, code = running[future], future.result()
                    self._note(trial, code)
                    if code:
                        failed.append(trial)
                        say(f"{trial.name} failed ({_describe(trial)}): {_reason(self._log(trial))}")
                    advance()
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt nothing more is started
        return failed

    def _is_done(self, trial: Trial) -> bool:
        return self.states.get(trial.name, {}).get("status") == "done" and (trial.run_dir / "export").is_dir()

    def _run_trial(self, trial: Trial) -> int:
        self._log(trial).parent.mkdir(parents=True, exist_ok=True)
        threads = max((os.cpu_count() or 1) // self.jobs, 1)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        command = [sys.executable, "-m", "moda.cli.main", "train", *trial.overrides, f"run_dir={trial.run_dir}"]
        with open(self._log(trial), "w") as log:
            return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode

    def _log(self, trial: Trial) -> Path:
        # not inside the run directory, which training wants empty or its own
        return self.directory / "logs" / f"{trial.name}.txt"

    def _note(self, trial: Trial, code: int) -> None:
        self.states[trial.name] = {
            "status": "failed" if code else "done",
            "returncode": code,
            "axes": dict(trial.axes),
            "overrides": list(trial.overrides),
        }
        write_json(self.directory / MANIFEST, {"trials": self.states})


def table(trials: Iterable[Trial]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the swept settings, then the last value of each number every trial recorded."""
    trials = list(trials)
    metrics = {trial.name: last_metrics(trial.run_dir / METRICS_NAME) for trial in trials}
    names = sorted({name for values in metrics.values() for name in values} - {"step", "lr"})
    axes = list(dict.fromkeys(key for trial in trials for key in trial.axes))
    rows = []
    for trial in trials:
        values = metrics[trial.name]
        settings = [trial.axes.get(key, "") for key in axes]
        numbers = [f"{values[name]:.5g}" if name in values else "" for name in names]
        rows.append([trial.name, *settings, f"{values['step']:.0f}" if "step" in values else "", *numbers])
    return ["trial", *axes, "step", *names], rows


def write_table(directory: Path, header: list[str], rows: list[list[str]]) -> None:
    """table.csv and table.md in ``directory``."""
    with atomic_path(directory / "table.csv") as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lines = [header, ["---"] * len(header), *rows]
    with atomic_path(directory / "table.md") as temporary:
        temporary.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def print_table(header: list[str], rows: list[list[str]], most: int = 8) -> None:
    """The first columns on the terminal; the files hold all of them."""
    from rich.console import Console
    from rich.table import Table

    shown = [i for i, name in enumerate(header) if "error_" not in name][:most]
    view = Table(*(header[i] for i in shown))
    for row in rows:
        view.add_row(*(row[i] for i in shown))
    Console().print(view)


def _describe(trial: Trial) -> str:
    return ", ".join(f"{key}={value}" for key, value in trial.axes.items()) or "no swept setting"


def _reason(log: Path) -> str:
    """The line of a log that says what went wrong: moda's own, else the last."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line.lower()]
    return (errors or lines or ["no output"])[-1] + f" (see {log})"
