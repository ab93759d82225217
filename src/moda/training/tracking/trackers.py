"""Experiment trackers beside metrics.jsonl, as ``conf/logger`` names them. None of them can stop a training."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from moda.build import build
from moda.errors import UserError
from moda.training.tracking.facts import RunStart
from moda.training.tracking.tracker import Tracker


class UpdatesDone(Tracker):
    """Mixed into a logger of Lightning's: steps are updates done, as in metrics.jsonl, and there are no epochs."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if values:
            super().log_metrics(values, (step or 0) + 1)  # type: ignore[safe-super]


class Table(UpdatesDone, CSVLogger):
    """CSV; it has no place for pictures and facts."""


class Board(UpdatesDone, TensorBoardLogger):
    """TensorBoard, with the facts of the start as text and the preview's curves as pictures."""

    @rank_zero_only
    def log_event(self, event: str, step: int, facts: Mapping[str, Any]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in _flat(facts))
        self.experiment.add_text(event, f"| | |\n|---|---|\n{rows}", step)

    @rank_zero_only
    def log_previews(self, files: Mapping[str, Path], step: int) -> None:
        from PIL import Image  # comes with matplotlib, which has drawn them

        for name, path in files.items():
            if path.suffix == ".png":
                picture = np.asarray(Image.open(path).convert("RGB"))
                self.experiment.add_image(f"preview/{name}", picture, step, dataformats="HWC")


def none(start: RunStart) -> list[Tracker]:
    """Only metrics.jsonl."""
    return []


def wandb(start: RunStart, *, project: str = "moda", mode: str = "auto") -> list[Tracker]:
    """Weights & Biases. mode: online, offline (``wandb sync`` sends it later), disabled, or auto: what
    WANDB_MODE says, else online with an API key and offline without."""
    from moda.training.tracking.wandb_tracker import start_wandb

    tracker = start_wandb(start, project, mode)
    return [tracker] if tracker else []


def csv(start: RunStart) -> list[Tracker]:
    """A table for each start of the run, named by the step it began at: Lightning's writer cannot append."""
    return [Table(start.run_dir, name="csv", version=f"from-step-{start.step}")]


def tensorboard(start: RunStart) -> list[Tracker]:
    """TensorBoard event files in RUN/tensorboard; what a resumed run records again replaces what it had recorded."""
    if not any(importlib.util.find_spec(package) for package in ("tensorboard", "tensorboardX")):
        raise UserError(
            "logger=tensorboard needs a package that is not installed; run: pip install 'moda[tensorboard]'"
        )
    return [Board(start.run_dir, name="tensorboard", version="", purge_step=start.step + 1 if start.step else None)]


def several(start: RunStart, *, trackers: Sequence[Mapping[str, Any]]) -> list[Tracker]:
    """More than one of these at once, each with its own settings."""
    return [logger for spec in trackers for logger in build({**spec, "_partial_": True})(start)]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(prefix, value)]
    return [pair for key, child in value.items() for pair in _flat(child, f"{prefix}.{key}" if prefix else str(key))]
