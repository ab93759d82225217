"""What a sweep consists of and how far it is: a manifest, and one status file for each trial.

    SWEEP/manifest.json       the trials, or the search that makes them
    SWEEP/status/0007.json    trial 7: its settings, and whether it is running, done, failed ...
    SWEEP/trial-HASH/         its run directory

A trial's status has one writer at a time, the process or array task that runs it, so that any number
of them need no common file. Beginning and ending are the same for all launchers.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from moda.errors import UserError
from moda.files import read_json, write_json
from moda.sweep.trials import Trial

MANIFEST = "manifest.json"
VERSION = 1
FINISHED = ("done", "pruned")
AGAIN = {85: "stopped on a signal", 86: "hung", 130: "interrupted", 138: "stopped while starting"}


@dataclass(frozen=True)
class Status:
    """One status file. ``state``: new, running, done, failed, pruned, stopped (to go on).

    number: of the search's own record of the trial; value: what it reached; starts: how often it began.
    """

    index: int
    state: str = "new"
    name: str = ""
    axes: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    starts: int = 0
    returncode: int | None = None
    reason: str = ""
    number: int | None = None
    value: float | None = None


class Plan(Protocol):
    """Where trials come from: a grid knows them all, a search makes each when it begins."""

    def __len__(self) -> int: ...

    def known(self, status: Status) -> Status:
        """Fill in what can be known of a trial before it begins."""
        ...

    def begin(self, status: Status) -> Status:
        """Fill in name, axes and overrides; ``state`` in FINISHED where nothing is left to do."""
        ...

    def end(self, status: Status) -> Status:
        """Take note of a trial that has ended; may change its state."""
        ...


class Ledger:
    """The folder of a sweep."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)

    def run_dir(self, status: Status) -> Path:
        return self.directory / status.name

    def manifest(self) -> dict[str, Any] | None:
        path = self.directory / MANIFEST
        if not path.is_file():
            return None
        value = read_json(path)
        if value.get("version") != VERSION:
            raise UserError(f"{path} is of another version of moda; give the sweep another sweep.name=...")
        return value

    def save_manifest(self, **content: Any) -> None:
        write_json(self.directory / MANIFEST, {"version": VERSION, **content})

    def status(self, index: int) -> Status:
        path = self._status_path(index)
        if not path.is_file():
            return Status(index)
        value = read_json(path)
        try:
            return Status(**{**value, "overrides": tuple(value["overrides"])})
        except (TypeError, KeyError) as error:
            raise UserError(f"{path} is not the status of a trial; delete it to run the trial again") from error

    def is_finished(self, index: int) -> bool:
        status = self.status(index)
        return status.state == "pruned" or (status.state == "done" and (self.run_dir(status) / "export").is_dir())

    def begin(self, index: int, plan: Plan) -> Status:
        """Trial ``index`` is about to run; its state is in FINISHED where there is nothing to run."""
        if not 0 <= index < len(plan):
            raise UserError(f"{self.directory} has no trial {index}: they count from 0 to {len(plan) - 1}")
        if self.is_finished(index):
            return self.status(index)
        status = plan.begin(self.status(index))
        if status.state not in FINISHED:
            status = replace(status, state="running", starts=status.starts + 1, returncode=None, reason="")
        self._write(status)
        return status

    def end(self, index: int, returncode: int, plan: Plan, reason: str = "") -> Status:
        """Trial ``index`` has left with ``returncode``: done, failed, or stopped so that it may go on."""
        status = self.status(index)
        if status.state != "running":
            return status
        state = "done" if returncode == 0 else "stopped" if returncode in AGAIN else "failed"
        status = replace(status, state=state, returncode=returncode, reason=reason or AGAIN.get(returncode, ""))
        status = plan.end(status)
        self._write(status)
        return status

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Held by the one launcher of a sweep; yields the descriptor, which processes it starts inherit.

        So the sweep stays taken while a trial of a killed launcher still runs.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"another moda sweep runs in {self.directory}; wait for it or end it") from error
            yield file.fileno()

    def is_locked(self) -> bool:
        """Whether a launcher works in the folder."""
        try:
            with self.lock():
                return False
        except UserError:
            return True

    def _write(self, status: Status) -> None:
        write_json(self._status_path(status.index), asdict(status))

    def _status_path(self, index: int) -> Path:
        return self.directory / "status" / f"{index:04d}.json"


class Grid:
    """A plan that knows its trials; the manifest holds them, and gains those of a wider grid."""

    def __init__(self, trials: list[Trial]):
        self.trials = trials

    @staticmethod
    def read(manifest: Mapping[str, Any]) -> "Grid":
        return Grid([Trial(trial["axes"], tuple(trial["overrides"])) for trial in manifest["trials"]])

    def enter(self, ledger: Ledger) -> list[int]:
        """Add to the sweep what it does not have yet; returns the places of this grid's trials in it."""
        manifest = ledger.manifest()
        if manifest is not None and "search" in manifest:
            raise UserError(f"{ledger.directory} is a search; give the grid another sweep.name=...")
        mine = self.trials
        self.trials = Grid.read(manifest).trials if manifest else []
        places = {trial.name: index for index, trial in enumerate(self.trials)}
        for trial in mine:
            if trial.name not in places:
                places[trial.name] = len(self.trials)
                self.trials.append(trial)
        entries = [
            {"name": trial.name, "axes": dict(trial.axes), "overrides": trial.overrides} for trial in self.trials
        ]
        ledger.save_manifest(trials=entries)
        return list(dict.fromkeys(places[trial.name] for trial in mine))

    def __len__(self) -> int:
        return len(self.trials)

    def known(self, status: Status) -> Status:
        trial = self.trials[status.index]
        return replace(status, name=trial.name, axes=trial.axes, overrides=trial.overrides)

    def begin(self, status: Status) -> Status:
        return self.known(status)

    def end(self, status: Status) -> Status:
        return status
