"""metrics.jsonl: every recorded number and fact, one JSON object a line, steps in order.

    {"step": 10, "train/loss": 0.7, ...}                       numbers after so many optimizer updates
    {"step": 0, "event": "start", "git": {...}, ...}           what a start was made with (see facts.py)
    {"step": 500, "event": "preview", "files": {...}}          paths relative to the run directory

A number that is not finite is null: JSON has no other way to write it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from moda.errors import UserError
from moda.files import atomic_path
from moda.training.tracking.tracker import Tracker

METRICS_NAME = "metrics.jsonl"
Line = dict[str, Any]


class MetricsFile(Tracker):
    """Appends to ``path``."""

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> int:
        return 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values:
            finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
            self._append({"step": (step or 0) + 1, **finite})

    @rank_zero_only
    def log_event(self, event: str, step: int, facts: Mapping[str, Any]) -> None:
        self._append({"step": step, "event": event, **facts})

    @rank_zero_only
    def log_previews(self, files: Mapping[str, Path], step: int) -> None:
        names = {name: str(path.relative_to(self.path.parent)) for name, path in files.items()}
        self.log_event("preview", step, {"files": names})

    def _append(self, line: Line) -> None:
        text = json.dumps(line, allow_nan=False, default=str)
        try:
            with open(self.path, "a") as file:
                file.write(text + "\n")
        except OSError as error:  # a full disk shows here first
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; free space, then run the same command again"
            ) from error


def read_lines(path: str | Path) -> list[Line]:
    """All lines of a metrics file; one cut short at its end is left out, as after a power cut."""
    path = Path(path)
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The lines of numbers; what was not finite is NaN."""
    return [
        {name: math.nan if value is None else value for name, value in line.items()}
        for line in read_lines(path)
        if "event" not in line
    ]


def read_events(path: str | Path, event: str) -> list[Line]:
    """The lines of one kind of event."""
    return [line for line in read_lines(path) if line.get("event") == event]


def last_metrics(path: str | Path) -> dict[str, float]:
    """The last value of each number."""
    last: dict[str, float] = {}
    for line in read_metrics(path):
        last |= line
    return last


def last_step(path: str | Path) -> int:
    """The last step that anything was recorded for; 0 for none."""
    return max((int(line["step"]) for line in read_lines(path)), default=0)


def rewind(path: str | Path, step: int) -> None:
    """Drop what was recorded after ``step``: a resumed run records it again."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
