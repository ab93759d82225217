"""Averages of the weights, kept in float32 beside the optimizer's masters and sharded as these are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from moda.errors import UserError
from moda.training.checkpoints.averages import Average, Exponential, PowerFunction
from moda.training.checkpoints.masters import Masters
from moda.training.checkpoints.pieces import Keep, Piece, PieceReader, Write, write_pieces
from moda.training.distributed.strategies import masters_of

KIND = "ema"


class EMA(L.Callback):
    """Averages the trained parameters after every optimizer step; validation runs with the first average.

    decay: of the exponential average that validation, previews and the export use. power: widths
    (sigma_rel, as 0.05 and 0.1) of power-function averages, from which ``moda export --sigma-rel`` makes
    any other width.
    """

    def __init__(self, decay: float = 0.999, power: Sequence[float] = ()):
        self.averages: list[Average] = [Exponential(decay), *(PowerFunction(width) for width in power)]
        if len({average.label for average in self.averages}) != len(self.averages):
            raise UserError(f"ema.power={list(power)} names a width twice")
        self.updates = 0
        self.masters: Masters | None = None
        self.shadows: dict[str, list[torch.Tensor]] = {}  # label -> one tensor for each piece
        self._before: list[torch.Tensor] | None = None

    def start(self, masters: Masters) -> None:
        """Begin every average with the weights as they are."""
        self.masters, self.updates = masters, 0
        self.shadows = {a.label: [p.values.float().clone() for p in masters.pieces] for a in self.averages}

    @property
    def shadow(self) -> list[torch.Tensor]:
        """The average that is validated and exported."""
        return self.shadows[self.averages[0].label]

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards the current weights. Touches this rank's pieces only."""
        assert self.masters is not None
        self.updates += 1
        weights = [piece.values.float() for piece in self.masters.pieces]
        for average in self.averages:
            share = 1 - average.decay(self.updates)
            torch._foreach_lerp_(self.shadows[average.label], weights, share)  # pyright: ignore[reportPrivateImportUsage]

    def gather(self) -> dict[str, torch.Tensor] | None:
        """The averaged weights in whole, on rank 0's CPU; None elsewhere. A collective call."""
        assert self.masters is not None
        return self.masters.gather(self.shadow)

    def swap_in(self) -> None:
        """Give the network the averaged weights, until ``swap_out``. Every rank calls both together."""
        if self._before is not None:
            raise RuntimeError("the averaged weights are already in place")
        assert self.masters is not None
        self._before = self.masters.swap(self.shadow)

    def swap_out(self) -> None:
        """Give the network its own weights back."""
        assert self.masters is not None and self._before is not None
        self.masters.swap(self._before)
        self._before = None

    def held(self, rank: int, keep: Keep) -> Write:
        """What writes this rank's part of every average, as it is now, into a checkpoint, called LABEL/PARAMETER."""
        assert self.masters is not None
        if rank and self.masters.replicated:
            return lambda directory: None
        pieces = keep(
            Piece(f"{label}/{piece.name}", piece.shape, piece.start, shadow)
            for label, shadows in self.shadows.items()
            for piece, shadow in zip(self.masters.pieces, shadows, strict=True)
        )
        return lambda directory: write_pieces(directory, KIND, rank, pieces)

    def load(self, directory: Path, rank: int) -> None:
        """Take this rank's part of every average from a checkpoint of any number of ranks."""
        assert self.masters is not None
        reader = PieceReader(directory, KIND)
        for label, shadows in self.shadows.items():
            for piece, shadow in zip(self.masters.pieces, shadows, strict=True):
                shadow.copy_(reader.read(f"{label}/{piece.name}", piece.start, piece.numel))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start(masters_of(trainer))  # ``load`` follows where a checkpoint is resumed

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step > self.updates:  # not while gradients accumulate
            self.update()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap_in()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap_out()

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]
