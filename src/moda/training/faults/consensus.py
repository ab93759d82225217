"""Flags that any rank raises and all ranks learn at the same step boundary."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import lightning as L
import torch
import torch.distributed as dist


class Consensus(L.Callback):
    """Small numbers by name, 0 until raised; the ranks agree on the largest of each.

    They travel by gloo, on the CPU, in a process group of their own: an exchange that begins after one
    optimizer step is looked at after the next, when it has long arrived. So it waits for no GPU and adds
    no latency, and every rank reads the same numbers at the same step. One process needs no group and
    otherwise does the same. Flags stay raised. patience: after which an exchange fails by itself, later than a watchdog.

    The boundary lies before a batch, where the step before it is validated and recorded. Callbacks that
    raise flags do so when a batch ends; those that act on ``agreed`` do so when one starts, after this one.
    """

    def __init__(self, names: Sequence[str], patience: timedelta | None = None):
        self.names, self.patience = tuple(names), patience
        self._mine = torch.zeros(len(self.names), dtype=torch.int64)
        self._agreed = torch.zeros_like(self._mine)
        self._travelling: torch.Tensor | None = None
        self._work: dist.Work | None = None
        self._group: dist.ProcessGroup | None = None
        self._step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.connect()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step > self._step:  # not while gradients accumulate
            self._step = trainer.global_step
            self.exchange()

    def connect(self) -> None:
        """Make the group; every rank calls this at the same place."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            group = dist.new_group(backend="gloo", timeout=self.patience)
            assert isinstance(group, dist.ProcessGroup)  # of all ranks, so this one is a member
            self._group = group

    def raise_flag(self, name: str, value: int = 1) -> None:
        at = self.names.index(name)
        self._mine[at] = max(int(self._mine[at]), value)

    def raised(self, *names: str) -> bool:
        """Whether this rank has raised any of them."""
        return any(self._mine[self.names.index(name)] for name in names)

    def exchange(self) -> dict[str, int]:
        """End the exchange that began at the last boundary and begin the next; every rank calls this.

        Returns the numbers agreed on: those raised before the last boundary.
        """
        self._end()
        self._begin()
        return self.agreed

    def settle(self) -> dict[str, int]:
        """Exchange at once, waiting for the slowest rank; every rank calls this."""
        self._end()
        self._begin()
        self._end()
        return self.agreed

    @property
    def agreed(self) -> dict[str, int]:
        return dict(zip(self.names, self._agreed.tolist(), strict=True))

    def _begin(self) -> None:
        self._travelling = self._mine.clone()
        if self._group is not None:
            self._work = dist.all_reduce(self._travelling, dist.ReduceOp.MAX, self._group, async_op=True)

    def _end(self) -> None:
        if self._work is not None:
            self._work.wait()
        if self._travelling is not None:
            self._agreed = torch.maximum(self._agreed, self._travelling)
        self._work = self._travelling = None
