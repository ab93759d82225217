"""Progress of a training, through the same display as all long work."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning as L

from moda.progress import progress


class TrainingProgress(L.Callback):
    """A bar on a terminal, a line now and then elsewhere; shows the last recorded losses. Rank 0 only."""

    def __init__(self, title: str):
        self.title = title
        self._stack = ExitStack()
        self._advance: Callable[..., None] | None = None
        self._shown = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._shown = trainer.global_step
            left = trainer.max_steps - self._shown
            title = self.title if not self._shown else f"{self.title} from step {self._shown}"
            self._advance = self._stack.enter_context(progress(title, left, "steps"))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._advance and trainer.global_step > self._shown:
            self._advance(trainer.global_step - self._shown, note=_note(trainer))
            self._shown = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stack.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stack.close()


def _note(trainer: L.Trainer) -> str:
    shown = {"loss": "train/loss", "val": "val/loss"}
    values = trainer.logged_metrics | trainer.callback_metrics
    return "  ".join(f"{label} {float(values[name]):.4f}" for label, name in shown.items() if name in values)
