"""Exponential moving average of the weights (Polyak and Juditsky, 1992), as a Lightning callback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import nn

from moda.errors import UserError


class EMA(L.Callback):
    """Keeps a float32 shadow of ``module.network``'s trained parameters.

    After update t (from 1) the shadow is d s + (1 - d) w with d = min(decay, (1 + t) / (10 + t)), so
    that the first steps do not hang on the initial weights. Validation runs with the shadow. It is
    part of this callback's state and so of every checkpoint.
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay={decay}: must lie in [0, 1)")
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, torch.Tensor] = {}
        self._kept: dict[str, torch.Tensor] = {}

    def start(self, network: nn.Module) -> None:
        """Take the weights as they are, unless a checkpoint has filled the shadow."""
        parameters = _trained(network)
        if not self.shadow:
            self.shadow = {name: p.detach().float().clone() for name, p in parameters.items()}
        self.shadow = {name: value.to(parameters[name].device) for name, value in self.shadow.items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the shadow towards the current weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in _trained(network).items():
            self.shadow[name].lerp_(parameter.float(), 1 - decay)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        self._swap_in(network)
        try:
            yield
        finally:
            self._swap_out(network)

    @torch.no_grad()
    def _swap_in(self, network: nn.Module) -> None:
        if self._kept:  # already applied, as for a preview during validation
            raise RuntimeError("the averaged weights are already in place")
        for name, parameter in _trained(network).items():
            self._kept[name] = parameter.detach().clone()
            parameter.copy_(self.shadow[name])

    @torch.no_grad()
    def _swap_out(self, network: nn.Module) -> None:
        for name, parameter in _trained(network).items():
            parameter.copy_(self._kept[name])
        self._kept = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start(network_of(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step > self.updates:  # not while gradients accumulate
            self.update(network_of(pl_module))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap_in(network_of(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap_out(network_of(pl_module))

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.shadow = state_dict["updates"], state_dict["shadow"]


def network_of(module: L.LightningModule) -> nn.Module:
    """The network a training module trains."""
    network = module.network
    assert isinstance(network, nn.Module)
    return network


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
