"""Training of a SyncNet of the published architecture on a prepared data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch, hashed_seed
from moda.errors import UserError
from moda.eval.mfcc import mfcc
from moda.eval.networks.syncnet import FRAMES, STEPS, SyncNet
from moda.eval.sync import STEPS_PER_FRAME
from moda.interop.export import Export
from moda.models.contrast import sync_contrast
from moda.training.base import Setup, TrainingModule
from moda.training.draws import Draws
from moda.training.sync_augmentation import vary_pictures, vary_sound
from moda.training.sync_calibration import calibrate
from moda.training.sync_crops import SyncCrops

FEWEST_BETWEEN = 2  # frames from one window of a clip to the next


class SyncNetModule(TrainingModule):
    """Loss: ``sync_contrast`` over ``windows`` windows of a fifth of a second from each clip of a micro-batch.

    The stream says which clips and where; pictures and sounds of the places come from ``SyncCrops`` below
    ``crops``, made before the first step. root: the data set. augment: see ``sync_augmentation``.
    """

    makes_motion = False
    network: SyncNet

    def __init__(self, setup: Setup, *, root: str, crops: str, windows: int, augment: bool, network: Mapping[str, Any]):
        super().__init__(setup)
        self.network_spec = network
        self.network = build(network)
        initialize(self.network)
        self.previous = 0
        self.windows, self.augment = windows, augment
        if windows < 2 or setup.window < (windows - 1) * FEWEST_BETWEEN + FRAMES:
            raise UserError(
                f"task.module.windows={windows} needs data.window of at least {max(windows - 1, 1) * FEWEST_BETWEEN + FRAMES} "
                f"frames, not {setup.window}, and must be at least 2"
            )
        self.crops = SyncCrops(Path(crops), Path(root), setup.manifest)

    def setup(self, stage: str) -> None:
        for split in ("train", "val"):
            self.crops.prepare(split)

    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        video, audio, valid = self._windows(batch)
        clip = torch.arange(len(valid), device=valid.device) // self.windows
        losses, found = sync_contrast(self.network.embed_video(video), self.network.embed_audio(audio), clip, valid)
        count = valid.sum().clamp(min=1)
        return {"loss": losses.sum() / count, "found": found.sum() / count}

    def _windows(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(N, 3, 5, 224, 224), (N, 1, 13, 20), (N,) bool; N = clips x windows."""
        videos, audios, valid = [], [], []
        for key, start, index in zip(batch["key"], batch["start"].tolist(), batch["index"].tolist(), strict=True):
            seed = hashed_seed(self.setup_.seed, "sync windows", self.training, index)
            rng = np.random.default_rng(seed)  # of the place in the stream, as all draws are
            frames = self.crops.frames(key)
            places = self._places(start, rng)
            inside = places + FRAMES <= frames
            valid.append(inside)
            if not inside.any():
                videos.append(np.zeros((self.windows, FRAMES, 224, 224, 3), np.uint8))
                audios.append(np.zeros((self.windows, STEPS, 13), np.float32))
                continue
            places = np.where(inside, places, places[0])
            crops, sound = self.crops.crops(key, places.min(), places.max() + FRAMES), self.crops.sound(key)
            if self.training and self.augment:
                crops, steps = vary_pictures(crops, rng), vary_sound(sound, rng)
            else:
                steps = mfcc(sound).astype(np.float32)
            videos.append(np.stack([crops[at : at + FRAMES] for at in places - places.min()]))
            audios.append(np.stack([steps[STEPS_PER_FRAME * at :][:STEPS] for at in places]))
        video = torch.from_numpy(np.concatenate(videos)).to(self.device).permute(0, 4, 1, 2, 3).float()
        audio = torch.from_numpy(np.concatenate(audios)).to(self.device).transpose(1, 2)[:, None]
        return video, audio, torch.from_numpy(np.concatenate(valid)).to(self.device)

    def _places(self, start: int, rng: np.random.Generator) -> np.ndarray:
        """First frames of a clip's windows, evenly apart, somewhere in the stream's window."""
        most = (self.window - FRAMES) // (self.windows - 1)
        between = int(rng.integers(FEWEST_BETWEEN, most + 1))
        room = self.window - FRAMES - (self.windows - 1) * between
        return start + int(rng.integers(room + 1)) + between * np.arange(self.windows)

    def reconstruct(self, network: nn.Module, clip: Clip) -> np.ndarray:
        raise UserError("a SyncNet makes no motion to preview")

    def export(self, network: nn.Module, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        """Moved so that zero is as far from a mouth as a wrong sound is: see ``sync_calibration``."""
        assert isinstance(network, SyncNet)
        self.crops.prepare("val")
        calibrate(network, self.crops, [clip.key for clip in FeatureShards(self.crops.root, "val", self.manifest)])
        return self._export_of_data("syncnet", step, config, network=network, network_spec=self.network_spec)


def initialize(network: nn.Module) -> None:
    """Weights for ReLU (He et al., 2015), biases 0: PyTorch's own would shrink the signal at each layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
