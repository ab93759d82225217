"""Leaving together, with everything saved, when the cluster wants its machines back."""

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from moda.errors import Preempted
from moda.training.faults.consensus import Consensus
from moda.training.faults.stop_signals import stop_signals

Save = Callable[[L.Trainer], None]


class Preemption(L.Callback):
    """Ends the training with ``Preempted`` at the step boundary where all ranks know that one holds a signal.

    They save together through ``save`` and leave (see ``Consensus``, which comes before this callback).
    A signal that came before training began ends it before the first step.
    """

    def __init__(self, consensus: Consensus, save: Save):
        self.consensus, self.save = consensus, save

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        replace_lightnings_handling(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._raise_flag()
        self.consensus.settle()
        self._leave_if_agreed(trainer)

    def on_train_batch_end(self, *_: Any) -> None:
        self._raise_flag()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._leave_if_agreed(trainer)

    def _raise_flag(self) -> None:
        if stop_signals.received is not None:
            self.consensus.raise_flag("signal", stop_signals.received)

    def _leave_if_agreed(self, trainer: L.Trainer) -> None:
        signum = self.consensus.agreed["signal"]
        if signum:
            self.save(trainer)
            raise Preempted(signum, trainer.global_step or None)


class _NoSignals(_SignalConnector):
    def register_signal_handlers(self) -> None:
        """Ours stay."""


def replace_lightnings_handling(trainer: L.Trainer) -> None:
    """Keep Lightning from taking SIGTERM, and from asking all ranks about it before each batch.

    Its handler starts a collective at whatever instruction the signal has interrupted, which other
    ranks do not take part in, and its question before each batch waits for the GPU.
    """
    trainer._signal_connector = _NoSignals(trainer)
    loop = trainer.fit_loop.epoch_loop
    assert callable(loop._broadcast_sigterm_tensor)  # this is written for Lightning 2.6
    loop._broadcast_sigterm_tensor = _nothing


def _nothing() -> None: ...
