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
from moda.data.module import VALIDATION_BATCH
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
    def export(self, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        """The network with the weights it has now; ``shards``: the train split, where something has to be measured."""

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        index = batch["index"]
        losses = self.losses(batch, Draws(self.setup_.seed, "train", index, len(index) * self.trainer.world_size))
        self.log_dict(_named("train", losses), batch_size=len(index), sync_dist=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        index = batch["index"]
        losses = self.losses(batch, Draws(self.setup_.seed, "val", index, VALIDATION_BATCH))
        # Every rank validates on the same windows: there is nothing to reduce.
        self.log_dict(_named("val", losses), batch_size=len(index))

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


def _named(stage: str, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{stage}/{name}": value.detach() for name, value in losses.items()}
