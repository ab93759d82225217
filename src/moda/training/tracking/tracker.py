"""What every tracker of a run takes beside numbers."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger


class Tracker(Logger):
    """A Lightning logger that is also given facts and previews; what it has no place for it leaves out.

    Lightning counts the ``step`` of ``log_metrics`` from 0; everywhere else a step is the number of
    optimizer updates done.
    """

    def log_event(self, event: str, step: int, facts: Mapping[str, Any]) -> None:
        """Something that is no number, as the facts of a start."""

    def log_previews(self, files: Mapping[str, Path], step: int) -> None:
        """files: what it shows -> picture (.png) or video (.mp4) in the run directory."""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The facts of the start hold them."""
