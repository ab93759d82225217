"""A loss or gradient that is not a number ends the training before a checkpoint holds what it did."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from moda.data.windows import Batch
from moda.errors import UserError
from moda.training.faults.consensus import Consensus
from moda.training.faults.failure import Failure, failure_directory, write_failure

# What is wrong, in the order in which it is believed: a loss names the rank it was computed on.
CAUSES = ("loss", "gradient", "weights")
FLAGS = (*CAUSES, "step")  # raised with: rank + 1 for the causes, the step


@dataclass
class _Check:
    """Whether the numbers of one optimizer step are finite, on its way from the device.

    finite: [loss of each micro-batch..., gradient norm] as 0 or 1 on the CPU, valid once ``arrived``.
    """

    step: int
    batches: list[Batch]
    losses: torch.Tensor
    finite: torch.Tensor
    norm: torch.Tensor
    arrived: torch.cuda.Event | None

    def read(self) -> list[bool]:
        if self.arrived is not None:
            self.arrived.synchronize()  # a step old: it is there
        return self.finite.bool().tolist()


class NonFiniteGuard(L.Callback):
    """Stops all ranks when the loss of any, or the norm of the gradient, is NaN or infinite.

    The verdict on a step is copied asynchronously and read one step later, so nothing waits for a GPU.
    ``settle`` reads at once and looks at the weights too; the checkpoint writer calls it before it saves. The batch
    is kept under ``directory``/step-N-rank-R, which ``moda replay`` computes again.
    """

    def __init__(self, directory: str | Path, consensus: Consensus, seed: int, checkpoints: str | Path):
        self.directory, self.checkpoints = Path(directory), Path(checkpoints)
        self.consensus, self.seed = consensus, seed
        self._step = 0
        self._batches: list[Batch] = []
        self._losses: list[torch.Tensor] = []
        self._checks: deque[_Check] = deque()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._batches.append(batch)
        self._losses.append(outputs["loss"].detach().float().reshape(()))
        if trainer.global_step == self._step:
            return  # gradients accumulate
        self._step = trainer.global_step
        self._checks.append(self._begin(_gradient_norm(trainer, pl_module)))
        self._batches, self._losses = [], []
        while len(self._checks) > 1:
            self._judge(trainer, self._checks.popleft())

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._stop_if(self.consensus.agreed)

    def settle(self, trainer: L.Trainer) -> None:
        """Raise UserError on every rank if anything up to now is not finite. Every rank calls it together."""
        last = self._checks[-1] if self._checks else None
        while self._checks:
            self._judge(trainer, self._checks.popleft())
        if last is not None and not _all_finite(_weights(trainer)):
            self._raise(trainer, last, "weights", last.batches)
        self._stop_if(self.consensus.settle())

    def _begin(self, norm: torch.Tensor) -> _Check:
        losses = torch.stack(self._losses)
        finite = torch.isfinite(torch.cat([losses, norm.to(losses.device).reshape(1)])).to(torch.uint8)
        if finite.device.type != "cuda":
            return _Check(self._step, self._batches, losses, finite.cpu(), norm, None)
        host = torch.empty_like(finite, device="cpu", pin_memory=True)
        host.copy_(finite, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return _Check(self._step, self._batches, losses, host, norm, arrived)

    def _judge(self, trainer: L.Trainer, check: _Check) -> None:
        *losses, norm = check.read()
        bad = [batch for batch, finite in zip(check.batches, losses, strict=True) if not finite]
        if bad:
            self._raise(trainer, check, "loss", bad)
        elif not norm:
            self._raise(trainer, check, "gradient", check.batches)

    def _raise(self, trainer: L.Trainer, check: _Check, cause: str, batches: list[Batch]) -> None:
        """Keep the batches and tell the other ranks; only the first time, what follows is its consequence."""
        if self.consensus.raised(*CAUSES):
            return
        rank = trainer.global_rank
        self.consensus.raise_flag(cause, rank + 1)
        self.consensus.raise_flag("step", check.step)
        failure = Failure(
            step=check.step,
            rank=rank,
            world_size=trainer.world_size,
            seed=self.seed,
            cause=cause,
            precision=str(trainer.precision),
            device=trainer.strategy.root_device.type,
            losses=check.losses.tolist(),
            gradient_norm=float(check.norm),
        )
        write_failure(self.directory, failure, batches)

    def _stop_if(self, agreed: dict[str, int]) -> None:
        for cause in CAUSES:
            if agreed[cause]:
                raise UserError(self._message(cause, agreed["step"], agreed[cause] - 1))

    def _message(self, cause: str, step: int, rank: int) -> str:
        what = {"loss": "the loss is", "gradient": "the gradient norm is", "weights": "weights are"}[cause]
        where = failure_directory(self.directory, step, rank)
        newest = _newest(self.checkpoints)
        return (
            f"{what} not finite at step {step} on rank {rank}; the batch is in {where} (look at it with: "
            f"moda replay {where}), the newest checkpoint is {newest}; mend the data and run the same "
            "command again, or start another run (name=...) with a lower optimizer.lr"
        )


def _gradient_norm(trainer: L.Trainer, module: L.LightningModule) -> torch.Tensor:
    """Norm before clipping of the step just done; 0 where it is not known or may be infinite by design."""
    norm = getattr(module, "gradient_norm", None)
    if norm is None or trainer.precision == "16-mixed":  # there the loss scale is lowered until it fits
        return torch.zeros(())
    norm = torch.as_tensor(norm, dtype=torch.float32).detach()
    return torch.where(norm < 0, float("nan"), norm)  # DeepSpeed says -1 for one that is not finite


def _weights(trainer: L.Trainer) -> Iterable[torch.Tensor]:
    """The float32 weights this rank holds."""
    from moda.training.distributed.strategies import masters_of

    return [piece.values for piece in masters_of(trainer).pieces]


def _all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(tensors, float("inf"))))


def _newest(checkpoints: Path) -> str:
    from moda.training.checkpoints.manifest import by_step

    found = by_step(checkpoints)
    return str(found[0]) if found else "none (step 0)"
