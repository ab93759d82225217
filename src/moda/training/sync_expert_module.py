"""Training of a sync expert: which lip motion belongs to which sound, by contrast."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch
from moda.errors import UserError
from moda.interop.export import Export
from moda.models.contrast import sync_contrast
from moda.models.sync_expert import SyncExpert, windows_valid
from moda.training.base import Setup, TrainingModule
from moda.training.draws import Draws
from moda.training.losses import InUnits

MEASURED_CLIPS = 200  # that the scale of agreements is measured on


class SyncExpertModule(TrainingModule):
    """Loss: ``sync_contrast`` over ``windows`` windows, evenly apart, of each clip of a micro-batch.

    network: spec of the expert without what the data sets. Trained on ``data.split``, by default the speakers
    set apart for it, so that a generator can be judged by someone who has not seen its training.
    """

    makes_motion = False
    network: SyncExpert

    def __init__(self, setup: Setup, *, network: Mapping[str, Any], windows: int):
        super().__init__(setup)
        manifest, statistics = setup.manifest, setup.manifest.statistics
        lips = [index for index in manifest.layout.subsets["lips"] if statistics.alive[index]]
        self.network_spec = {
            **network,
            "audio_layers": manifest.audio_layers,
            "audio_dim": manifest.audio_dim,
            "lip_dims": lips,
            "lip_mean": statistics.mean[lips].tolist(),
            "lip_std": statistics.std[lips].tolist(),
        }
        self.network = build(self.network_spec)
        self.in_units = InUnits(statistics)
        self.previous, self.windows = 0, windows
        self.spacing = (setup.window - self.network.window) // max(windows - 1, 1)
        if windows < 2 or self.spacing < 1:
            raise UserError(
                f"task.module.windows={windows}: must be at least 2, and so many windows of {self.network.window} frames "
                f"must fit apart from each other into data.window={setup.window}"
            )

    def on_fit_start(self) -> None:
        self.in_units.to(self.device)

    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        places = self._places(draws)  # (B, K)
        motion = self.in_units(batch["motion"])
        lips, sound = (
            torch.take_along_dim(embedded, places[..., None], 1).flatten(0, 1)
            for embedded in (self.network.embed_motion(motion), self.network.embed_audio(batch["audio"]))
        )  # (B K, E) each
        valid = windows_valid(batch["valid"], self.network.window).take_along_dim(places, 1).flatten()
        clip = torch.arange(len(valid), device=valid.device) // self.windows
        losses, found = sync_contrast(lips, sound, clip, valid)
        count = valid.sum().clamp(min=1)
        return {"loss": losses.sum() / count, "found": found.sum() / count}

    def _places(self, draws: Draws) -> torch.Tensor:
        """(B, K) first frames of windows evenly apart, somewhere in the stream's window."""
        room = self.window - self.network.window - (self.windows - 1) * self.spacing + 1
        first = (draws.uniform(1)[0] * room).long().clamp(max=room - 1)
        return first[:, None] + self.spacing * torch.arange(self.windows, device=first.device)

    def reconstruct(self, network: nn.Module, clip: Clip) -> np.ndarray:
        raise UserError("a sync expert makes no motion to preview")

    def export(self, network: nn.Module, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        assert isinstance(network, SyncExpert)
        measure_agreement(network, islice(shards, MEASURED_CLIPS))
        return self._export_of_data("sync_expert", step, config, network=network, network_spec=self.network_spec)


@torch.no_grad()
def measure_agreement(expert: SyncExpert, clips: Iterable[Clip]) -> None:
    """Set the expert's ``matched`` and ``mismatched`` to its mean agreements over the clips' windows.

    Mismatched are windows of the same clip at other times: at least a window apart.
    """
    device = expert.matched.device
    matched, others = [], []
    for clip in clips:
        if clip.num_frames < 3 * expert.window:
            continue
        lips = expert.embed_motion(torch.from_numpy(clip.motion).to(device)[None])[0]
        sound = expert.embed_audio(torch.from_numpy(clip.audio.astype(np.float32)).to(device)[None])[0]
        agreement = lips @ sound.T  # (n, n)
        matched.append(agreement.diagonal().mean())
        apart = torch.ones_like(agreement, dtype=torch.bool)
        apart = apart.triu(expert.window) | apart.tril(-expert.window)
        others.append(agreement[apart].mean())
    if matched:
        expert.matched.copy_(torch.stack(matched).mean())
        expert.mismatched.copy_(torch.stack(others).mean())
