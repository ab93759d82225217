"""metrics.jsonl: every recorded number, one JSON object a line."""

import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from moda.errors import UserError
from moda.files import atomic_path

METRICS_NAME = "metrics.jsonl"


class MetricsFile(Logger):
    """Appends to ``path``. ``step`` is the number of optimizer updates done (Lightning counts from 0).

    A number that is not finite ends the training: nothing that follows it is worth the time.
    """

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
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if not values:
            return
        done = (step or 0) + 1
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"{name} is {value} at step {done}; try a lower optimizer.lr, then start again from the last checkpoint"
                )
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": done, **values}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """config.yaml holds them."""


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The lines of a metrics file; one cut short at its end is left out, as after a power cut."""
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


def last_metrics(path: str | Path) -> dict[str, float]:
    """The last value of each number."""
    last: dict[str, float] = {}
    for line in read_metrics(path):
        last |= line
    return last


def rewind(path: str | Path, step: int) -> None:
    """Drop what was recorded after ``step``: a resumed run records it again."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
