"""Computing a batch that was kept again: which sample, which tensor, which module is the first to go wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from moda.data.windows import Batch
from moda.errors import UserError
from moda.training.base import TrainingModule, build_module, manifest_of, mixed, on_device
from moda.training.checkpoints.consolidate import weights_of
from moda.training.checkpoints.manifest import by_step, damage, step_of
from moda.training.draws import Draws
from moda.training.faults.failure import Failure
from moda.training.rundir import config_of


@dataclass
class SampleResult:
    """One window computed alone, with the noise it had in training.

    loss; gradient: norm over all parameters; place: the first module whose output is not finite, or None.
    """

    key: str
    start: int
    index: int
    loss: float
    gradient: float
    place: str | None

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(torch.tensor([self.loss, self.gradient])).all())


@dataclass
class BatchResult:
    """samples; inputs: name -> (smallest, largest, how many are not finite) of each tensor of the batch."""

    samples: list[SampleResult]
    inputs: dict[str, tuple[float, float, int]] = field(default_factory=dict)


def checkpoint_before(checkpoints: Path, failure: Failure, name: str | None) -> Path | None:
    """The newest complete checkpoint the failing step may have come from, or the one called ``name``.

    None: the run had none, and training began with the weights of its seed.
    """
    if name is not None:
        if not (checkpoints / name).is_dir():
            known = ", ".join(path.name for path in by_step(checkpoints)) or "none"
            raise UserError(f"{checkpoints} has no {name}; it holds {known}")
        return checkpoints / name
    older = (path for path in by_step(checkpoints) if step_of(path) < failure.step)
    return next((path for path in older if damage(path) is None), None)


def module_of(run_dir: Path) -> TrainingModule:
    """The task of a run, on the CPU, with the weights it began with. Raises UserError."""
    config = config_of(run_dir)
    L.seed_everything(config["seed"], verbose=False)
    return build_module(config, manifest_of(config))


def replay(module: TrainingModule, failure: Failure, batch: Batch) -> BatchResult:
    """Losses and gradients of each sample of ``batch``, with the weights ``module`` has."""
    result = BatchResult([], {name: _range(value) for name, value in batch.items() if torch.is_tensor(value)})
    module.train()
    for row in range(len(batch["key"])):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        draws = Draws(failure.seed, "train", one["index"], module.device)
        module.zero_grad()
        with _first_not_finite(module.network) as places, mixed(failure.precision, module.device):
            loss = module.losses(on_device(one, module.device), draws)["loss"]
        loss.backward()
        gradients = [p.grad for p in module.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        place = places[0] if places else None
        sample = SampleResult(
            one["key"][0], int(one["start"]), int(one["index"]), float(loss.detach()), float(norm), place
        )
        result.samples.append(sample)
    return result


def load(module: TrainingModule, checkpoint: Path | None) -> int:
    """Give ``module`` the trained weights of a checkpoint, without averaging; returns how many updates they had."""
    if checkpoint is None:
        return 0
    missing, unexpected = module.network.load_state_dict(weights_of(checkpoint, None), strict=False)
    if unexpected or set(missing) & {name for name, _ in module.network.named_parameters()}:
        raise UserError(f"the weights of {checkpoint} do not fit the network of its run's config.yaml")
    return step_of(checkpoint)


@contextmanager
def _first_not_finite(network: nn.Module) -> Iterator[list[str]]:
    """The modules whose output is not finite, in the order in which they computed it."""
    places: list[str] = []

    def look(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not _finite(output):
                after = "" if _finite(inputs) else ", whose input is not finite either"
                places.append(f"output of network.{name} ({type(module).__name__}){after}")

        return module.register_forward_hook(hook)

    handles = [look(name, module) for name, module in network.named_modules() if name]
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


def _finite(value: Any) -> bool:
    if torch.is_tensor(value):
        return bool(torch.isfinite(value).all())
    if isinstance(value, dict):
        value = value.values()
    return all(_finite(part) for part in value) if isinstance(value, list | tuple) else True


def _range(value: torch.Tensor) -> tuple[float, float, int]:
    value = value.double()
    finite = value[torch.isfinite(value)]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    return low, high, value.numel() - finite.numel()
