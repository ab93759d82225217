"""How training is spread over processes, as ``conf/strategy`` names it.

Each strategy is Lightning's own with one change: checkpoints hold Lightning's bookkeeping as JSON, and
weights, moments and averages are written and read through ``masters`` (see checkpoints/). So every
checkpoint can be resumed with every strategy on every number of ranks.
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import nn

from moda.errors import UserError
from moda.files import read_json, write_json
from moda.training.checkpoints.masters import Masters, replicated
from moda.training.distributed.resources import Resources

TRAINER_STATE = "trainer.json"


class PieceCheckpoints(Strategy):
    """Mixed into a strategy: what Lightning itself saves and restores is its loops and schedules."""

    _masters: Masters | None = None

    @property
    def masters(self) -> Masters:
        """The trained weights as this rank holds them; from ``on_fit_start`` on."""
        if self._masters is None:
            self._masters = self.make_masters(trained_network(self))
        return self._masters

    def make_masters(self, network: nn.Module) -> Masters:
        return replicated(network, self.optimizers[0])

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True  # there is no optimizer to restore before

    @property
    def lightning_restore_optimizer(self) -> bool:
        return False

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """CheckpointWriter loads the weights."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """CheckpointWriter loads the moments."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        if self.is_global_zero:
            kept = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
            write_json(Path(filepath) / TRAINER_STATE, kept)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        directory = self.broadcast(str(checkpoint_path))  # rank 0 has read the hashes too
        return {**read_json(Path(directory) / TRAINER_STATE), "directory": directory}


class SingleDevice(PieceCheckpoints, SingleDeviceStrategy):
    """One process."""


class DataParallel(PieceCheckpoints, DDPStrategy):
    """Distributed data parallel: gloo on CPUs, NCCL on GPUs."""


def masters_of(trainer: L.Trainer) -> Masters:
    """The trained weights as this rank of ``trainer`` holds them."""
    assert isinstance(trainer.strategy, PieceCheckpoints)
    return trainer.strategy.masters


def trained_network(strategy: Strategy) -> nn.Module:
    """The module whose weights are trained, apart from its wrappers."""
    module = strategy.lightning_module
    assert module is not None
    network = module.network
    assert isinstance(network, nn.Module)
    return network


def single(*, resources: Resources) -> Strategy:
    """One process."""
    resources.require_one_process()
    return SingleDevice(resources.device(0))


def ddp(*, resources: Resources, find_unused_parameters: bool = False) -> Strategy:
    """Distributed data parallel."""
    return DataParallel(
        find_unused_parameters=find_unused_parameters,
        gradient_as_bucket_view=True,
        static_graph=False,
        process_group_backend="nccl" if resources.on_gpu else "gloo",
        timeout=resources.patience,
    )


def deepspeed(*, resources: Resources, stage: int, offload: str = "none", **settings: Any) -> Strategy:
    """DeepSpeed ZeRO. stage: 1 shards the optimizer, 2 also gradients, 3 also weights.

    offload: ``none``, ``optimizer`` (moments and masters in CPU memory) or ``all`` (with stage 3 the
    weights too). settings: of the ``zero_optimization`` section of DeepSpeed's configuration.
    """
    if stage not in (1, 2, 3):
        raise UserError(f"strategy.stage={stage}: DeepSpeed ZeRO has the stages 1, 2 and 3")
    if offload not in ("none", "optimizer", "all") or (offload == "all" and stage != 3):
        raise UserError(f"strategy.offload={offload}: must be none, optimizer or (with stage 3) all")
    if resources.precision.startswith("16"):
        raise UserError("trainer.precision=16-mixed cannot be used with DeepSpeed here; use bf16-mixed or 32-true")
    if not importlib.util.find_spec("deepspeed"):
        raise UserError(
            "strategy=deepspeed_* needs a package that is not installed; run: pip install 'moda[deepspeed]'"
        )
    # read when it is imported
    os.environ.setdefault("DS_IGNORE_CUDA_DETECTION", "1")  # its own kernels, which would need nvcc, are not used here
    if not resources.on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from moda.training.distributed.deepspeed import ZeRO

    return ZeRO.of(resources, stage, offload, settings)
