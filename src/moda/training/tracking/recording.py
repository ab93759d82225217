"""What a training step is recorded with: losses of all ranks, gradient norm, rate, speed, memory."""

import resource
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import PassThroughProfiler

from moda.data.windows import Batch
from moda.training.base import TrainingModule
from moda.training.tracking.clock import StepClock
from moda.training.tracking.flops import peak_rate, training_flops

GIB = 2**30


class StepRecorder(L.Callback):
    """Hands the numbers of every ``trainer.log_every_n_steps``-th step to the loggers.

    train/*: means over all ranks and accumulated micro-batches of that step. lr: the rate it was made with.
    speed/*: over the steps since the last record. One collective call and one transfer from the device
    each time; the steps between cost neither. ``latest`` are the last numbers, on rank 0.
    Stands behind what belongs to a step (as the EMA) and before what does not (previews, checkpoints).
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self.clock = StepClock()
        self._micro_batches: list[dict[str, torch.Tensor]] = []
        self._rate = 0.0
        self._step = self._recorded = self._samples = 0
        self._flops: float | None = None  # of one micro-batch
        self._peak = 0.0  # operations a second of one device

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]  # else it is the user's
            trainer.profiler = self.clock  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = self._recorded = trainer.global_step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        if self._flops is None:
            self._flops = 0.0
            if trainer.is_global_zero:
                self._flops = training_flops(pl_module, batch)
                self._peak = peak_rate(pl_module.device, str(trainer.precision))
            self.clock.restart()
        if self._is_due(trainer, trainer.global_step + 1):
            self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        self._samples += len(batch["index"])
        self._micro_batches.append(pl_module.recorded)
        if trainer.global_step > self._step:  # not while gradients accumulate
            self._step = trainer.global_step
            if self._is_due(trainer, self._step):
                self._record(trainer, pl_module)
            self._micro_batches = []
        self.clock.pause()

    @staticmethod
    def _is_due(trainer: L.Trainer, step: int) -> bool:
        return step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    def _record(self, trainer: L.Trainer, module: TrainingModule) -> None:
        losses, machine = _losses(self._micro_batches), self._machine(trainer, module)
        norm = module.gradient_norm
        norms = {} if norm is None else {"gradient_norm": torch.as_tensor(norm, device=module.device).float()}
        mine = [
            torch.stack(list((losses | norms).values())).double(),
            torch.tensor(list(machine.values()), dtype=torch.float64),
        ]
        ranks = trainer.strategy.all_gather(torch.cat([part.to(module.device) for part in mine]))
        if not trainer.is_global_zero:
            self._restart()
            return
        columns = dict(
            zip([*losses, *norms, *machine], ranks.view(trainer.world_size, -1).T.tolist(), strict=True)
        )  # waits for the device, once
        self.clock.pause()
        values = {f"train/{name}": sum(columns[name]) / len(columns[name]) for name in losses}
        values |= {f"train/{name}": columns[name][0] for name in norms}
        self.latest = values | {"lr": self._rate} | self._speed(trainer, module, columns)
        self._restart()
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, self._step - 1)  # Lightning counts from 0

    def _machine(self, trainer: L.Trainer, module: TrainingModule) -> dict[str, float]:
        """What each rank knows of itself."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        return {
            "memory": peak_memory(module.device),
            "waiting": self.clock.waiting,
            "bad": float(getattr(data, "bad_samples", 0)),
        }

    def _speed(self, trainer: L.Trainer, module: TrainingModule, columns: dict[str, list[float]]) -> dict[str, float]:
        steps, seconds = self._step - self._recorded, max(self.clock.training, 1e-9)
        samples = self._samples * trainer.world_size / seconds
        values = {
            "speed/samples_per_second": samples,
            "speed/frames_per_second": samples * module.window,
            "speed/step_ms": 1000 * seconds / steps,
            "speed/data_wait": max(columns["waiting"]) / seconds,  # share of the time, on the slowest rank
            "speed/peak_memory_gib": max(columns["memory"]) / GIB,
            "data/bad_samples": sum(columns["bad"]),
        }
        if self._flops:
            rate = self._flops * trainer.accumulate_grad_batches * steps / seconds  # of one device
            values["speed/tflops_per_device"] = rate / 1e12
            values["speed/mfu"] = rate / self._peak
        return values

    def _restart(self) -> None:
        self._recorded, self._samples = self._step, 0
        self.clock.restart()


def _losses(micro_batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([recorded[name].float() for recorded in micro_batches]).mean() for name in micro_batches[0]
    }


def peak_memory(device: torch.device) -> float:
    """Most bytes ever allocated on a GPU, or resident of the process where there is none."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
