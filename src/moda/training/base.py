"""What the training tasks share: optimizer, noise that belongs to the sample, export."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.data.schema import DatasetManifest
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export
from moda.training.draws import Draws


@dataclass(frozen=True)
class Setup:
    """What every task is built from, beside its own settings.

    manifest: the data set. optimizer: spec with ``_partial_``. window: frames W.
    """

    manifest: DatasetManifest
    optimizer: Mapping[str, Any]
    seed: int
    window: int


class TrainingModule(L.LightningModule):
    """A task: ``network`` is what it trains, ``previous`` the frames P it wants before each window.

    A subclass computes ``losses``; its ``loss`` entry is minimised, all entries are recorded.
    """

    network: nn.Module
    previous: int

    def __init__(self, setup: Setup):
        super().__init__()
        self.setup_ = setup
        self.manifest = setup.manifest
        self.window = setup.window

    @abstractmethod
    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        """Scalars by name, among them ``loss``."""

    @abstractmethod
    def reconstruct(self, clip: Clip) -> np.ndarray:
        """What the network makes of a clip, (T, D) in the layout's units, for previews."""

    @abstractmethod
    def export(self, step: int, config: dict[str, Any]) -> Export:
        """The network with the weights it has now."""

    def before_export(self, shards: FeatureShards) -> None:
        """Measure on the train split what an export needs; called with the averaged weights in place."""

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        losses = self.losses(batch, self._draws("train", batch, self.trainer.world_size))
        self._record("train", losses, batch, on_step=True, on_epoch=False)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], on_step=True, on_epoch=False)
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # Every rank validates on the same windows, so there is nothing to reduce.
        losses = self.losses(batch, self._draws("val", batch, 1))
        self._record("val", losses, batch, on_step=False, on_epoch=True)

    def _draws(self, purpose: str, batch: Batch, world_size: int) -> Draws:
        index = batch["index"]
        return Draws(self.setup_.seed, purpose, index, len(index) * world_size)

    def _record(self, stage: str, losses: dict[str, torch.Tensor], batch: Batch, **when: bool) -> None:
        values = {f"{stage}/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(values, batch_size=len(batch["index"]), sync_dist=stage == "train", **when)

    def configure_optimizers(self) -> Any:
        make = build(self.setup_.optimizer)
        optimizer, schedule = make(self.network, total_steps=self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _export_of_data(self, task: str, step: int, config: dict[str, Any], **parts: Any) -> Export:
        manifest = self.manifest
        return Export(
            task=task,
            step=step,
            identity=MotionIdentity.of(manifest),
            codec_spec=manifest.codec,
            audio_spec=manifest.audio_encoder,
            audio_layers=manifest.audio_layers,
            audio_dim=manifest.audio_dim,
            identity_dim=manifest.identity_dim,
            dataset_fingerprint=manifest.fingerprint,
            config=config,
            **parts,
        )
