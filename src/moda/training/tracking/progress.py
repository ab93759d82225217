"""Progress of a training, through the same display as all long work."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning as L

from moda.progress import progress
from moda.training.tracking.recording import StepRecorder


class TrainingProgress(L.Callback):
    """A bar on a terminal, a line now and then elsewhere; shows the last recorded numbers. Rank 0 only.

    It shows what has left the device already and never waits for it.
    """

    def __init__(self, title: str, recorder: StepRecorder):
        self.title, self.recorder = title, recorder
        self._stack = ExitStack()
        self._advance: Callable[..., None] | None = None
        self._shown = 0
        self._validation = ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._shown = trainer.global_step
            left = trainer.max_steps - self._shown
            title = self.title if not self._shown else f"{self.title} from step {self._shown}"
            self._advance = self._stack.enter_context(progress(title, left, "steps"))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._advance and trainer.global_step > self._shown:
            self._advance(trainer.global_step - self._shown, note=self._note())
            self._shown = trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._advance and "val/loss" in trainer.callback_metrics:
            self._validation = f"  val {float(trainer.callback_metrics['val/loss']):.4f}"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stack.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stack.close()

    def _note(self) -> str:
        latest = self.recorder.latest
        if "train/loss" not in latest:
            return self._validation.strip()
        speed = f"  {latest['speed/samples_per_second']:.0f} samples/s"
        return f"loss {latest['train/loss']:.4f}{self._validation}{speed}"
