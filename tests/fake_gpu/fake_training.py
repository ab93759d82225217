"""Training steps on the fake GPU: every task from its batch to what callbacks do with the step."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from conftest import write_dataset
from fake_device import GPU
from fake_watch import Watch

from moda.cli.hydra_app import compose
from moda.cli.train import resolve
from moda.data.module import ShardDataModule
from moda.data.shards import FeatureShards
from moda.data.share import Share
from moda.data.windows import Batch
from moda.interop.export import write_export
from moda.training.base import TrainingModule, build_module, manifest_of
from moda.training.checkpoints.ema import EMA
from moda.training.checkpoints.masters import replicated
from moda.training.faults.consensus import Consensus
from moda.training.faults.nonfinite import FLAGS, NonFiniteGuard, _gradient_norm
from moda.training.tracking.recording import StepRecorder

WINDOW = 80
SPEAKERS = {"train": ("ann", "bob"), "val": ("cid",), "expert": ("dan", "eve")}


@dataclass(frozen=True)
class Material:
    """A folder with what trainings need: a data set of keypoints, a motion VAE and a sync expert of it."""

    folder: Path

    @cached_property
    def dataset(self) -> Path:
        return write_dataset(
            self.folder / "data", layout="liveportrait70", identity_dim=63, frames=WINDOW + 8, speakers=SPEAKERS
        )

    @cached_property
    def motion_vae(self) -> Path:
        return self._exported("motion_vae")

    @cached_property
    def sync_expert(self) -> Path:
        return self._exported("sync_expert")

    def config(self, *overrides: str) -> dict[str, Any]:
        common = (f"data.path={self.dataset}", f"run_dir={self.folder / 'run'}", f"data.window={WINDOW}", "logger=none")
        return resolve(compose("train", [*common, *overrides]))

    def _exported(self, task: str) -> Path:
        config = self.config(f"task={task}")
        module = build_module(config, manifest_of(config))
        split = config["task"]["split"]
        export = module.export(module.network.eval(), 0, config, FeatureShards(self.dataset, split, module.manifest))
        write_export(self.folder / task, export)
        return self.folder / task


class NoiseCrops:
    """A store of mouth crops that are black and silent."""

    def frames(self, key: str) -> int:
        return WINDOW

    def crops(self, key: str, start: int, stop: int) -> np.ndarray:
        return np.zeros((stop - start, 224, 224, 3), np.uint8)

    def sound(self, key: str) -> np.ndarray:
        return np.zeros(640 * WINDOW, np.int16)


@dataclass
class Training:
    """A task with weights drawn anew, and a micro-batch for it; made on the host."""

    config: Mapping[str, Any]
    module: TrainingModule
    batch: Batch

    @classmethod
    def of(cls, material: Material, *overrides: str, batch_size: int = 4) -> "Training":
        config = material.config(*overrides, f"data.batch_size={batch_size}")
        manifest = manifest_of(config)
        module = build_module(config, manifest)
        cut = {"previous": module.previous, "reference_scale": module.reference_scale}
        data = ShardDataModule(**config["data"], **cut, seed=0, manifest=manifest)
        batch = next(iter(data.train_stream(Share(batch_size))))
        batch.pop("skipped", None)
        if config["task"]["name"] == "syncnet":
            module.crops = NoiseCrops()  # type: ignore[assignment]
        return cls(config, module, batch)

    def upload(self) -> None:
        """As Lightning and the callbacks do before the first step."""
        self.module.to(GPU)
        self.module.train()
        self.module.on_fit_start()
        self.batch = self.module.transfer_batch_to_device(self.batch, GPU, 0)
        self.trainer: Any = stub_trainer()
        self.module.trainer = self.trainer
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.ema = EMA(**self.config["ema"])
        self.ema.start(replicated(self.module.network, self.optimizer))

    def step(self, watch: Watch) -> None:
        """One optimizer step in bf16-mixed, and its average."""
        with watch.phase("forward"), torch.autocast(GPU.type, torch.bfloat16):
            loss = self.module.training_step(self.batch, 0)
        with watch.phase("backward"):
            loss.backward()
        with watch.phase("clip"):
            self.module.configure_gradient_clipping(self.optimizer, 1.0)
        with watch.phase("optimizer"):
            self.optimizer.step()
        with watch.phase("ema"):
            self.ema.update()


def stub_trainer() -> SimpleNamespace:
    """What modules and callbacks ask a trainer for, of one process."""
    strategy = SimpleNamespace(all_gather=lambda values: values, root_device=GPU)
    return SimpleNamespace(
        strategy=strategy, precision="bf16-mixed", max_steps=100, world_size=1, global_rank=0, is_global_zero=True,
        datamodule=None, loggers=[], accumulate_grad_batches=1, global_step=1,
    )  # fmt: skip


def only_step(training: Training, watch: Watch) -> dict[str, Any]:
    """A step; the shapes of what it records."""
    training.upload()
    training.step(watch)
    return {"losses": {name: list(value.shape) for name, value in training.module.recorded.items()}}


def step_and_beside(training: Training, watch: Watch) -> dict[str, Any]:
    """A step, and what callbacks do with it: the guard, the record, validation with the average, an export."""
    shapes = only_step(training, watch)
    trainer = training.trainer
    with watch.phase("beside"):
        guard = NonFiniteGuard("failures", Consensus(("signal", *FLAGS)), 0, "checkpoints")
        guard._losses = [value.float() for name, value in training.module.recorded.items() if name == "loss"]
        guard._begin(_gradient_norm(trainer, training.module))
        recorder = StepRecorder()
        recorder._micro_batches, recorder._step = [training.module.recorded], 1
        recorder._record(trainer, training.module)
        training.ema.swap_in()
        training.ema.swap_out()
        weights = training.ema.gather()
        assert weights is not None
        training.module.copy_with(weights)
    return shapes
