"""Faults in a real training process: a callback that Lightning finds by the entry point beside this file.

It is there only where PYTHONPATH names this folder. $MODA_FAULT is a JSON object: ``do`` (what happens),
``rank`` and ``step`` (updates done when it happens). $MODA_SAMPLES: folder for what each rank trains on.
"""

import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch


def callbacks() -> list[L.Callback]:
    return [Faults(**json.loads(os.environ.get("MODA_FAULT", "{}")), samples=os.environ["MODA_SAMPLES"])]


class Faults(L.Callback):
    def __init__(self, samples: str, do: str = "nothing", rank: int = 0, step: int = -1, **settings: Any):
        self.samples, self.do, self.rank, self.step, self.settings = Path(samples), do, rank, step, settings

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (self.samples / f"pid-{trainer.global_rank}").write_text(str(os.getpid()))
        if self.do == "kill_at_event" and trainer.global_rank == self.rank:
            sys.addaudithook(self._on_event)
        if self.do == "poison" and trainer.global_rank == self.rank:
            parameter = next(pl_module.parameters())
            parameter.register_hook(lambda gradient: gradient * float("nan") if self._now(trainer) else gradient)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The process dies at the moment it opens, renames or finishes the file that is named, with half of it written."""
        if event == self.settings["event"] and re.search(self.settings["path"], str(arguments[0])):
            if self.settings.get("halved"):
                os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def _now(self, trainer: L.Trainer) -> bool:
        return trainer.global_rank == self.rank and trainer.global_step == self.step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._now(trainer):
            return
        if self.do == "signal":
            for _ in range(self.settings.get("times", 1)):
                os.kill(os.getpid(), signal.Signals[self.settings["signal"]])
        if self.do == "full_disk":  # every file ends there, as with EFBIG from the kernel
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.settings["bytes"], resource.RLIM_INFINITY))
        if self.do == "overflow":
            batch["motion"][self.settings["row"]] = torch.finfo(torch.float32).max
        if self.do == "sleep":
            time.sleep(3600)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if self.do == "die" and self._now(trainer):  # in the middle of a step
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        line = {"step": trainer.global_step, "keys": batch["key"], "starts": batch["start"].tolist()}
        with open(self.samples / f"rank-{trainer.global_rank}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
