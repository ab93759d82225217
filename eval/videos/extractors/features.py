"""Features of frames and of short clips, for the Fréchet distances: what FID and FVD are computed from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.view import View

VERSION = 1
BATCH = 16


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network that makes features, and what they are called.

    label: "FID" or "FVD" with the official network and weights alone. output: which of its outputs.
    prepare: of video networks, a clip uint8 RGB (T, H, W, 3) to (3, T, S, S); None of image networks,
    which take uint8 (B, 3, H, W).
    """

    label: str
    network: nn.Module
    output: str
    weights_sha256: str
    prepare: Callable[[np.ndarray], Tensor] | None = None

    def identity(self) -> dict[str, Any]:
        return {
            "version": VERSION, "label": self.label, "network": type(self.network).__name__, "output": self.output,
            "weights": self.weights_sha256, "prepare": self.prepare.__name__ if self.prepare else "uint8",
        }  # fmt: skip

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> np.ndarray:
        """(B, ...) to (B, D) float32."""
        place = next(self.network.parameters()).device
        return self.network(batch.to(place))[self.output].float().cpu().numpy()


def for_i3d(clip: np.ndarray) -> Tensor:
    """uint8 RGB (T, H, W, 3) to (3, T, 224, 224) in [-1, 1], bilinear as in the common TorchScript file."""
    video = torch.from_numpy(clip).permute(0, 3, 1, 2).float()
    if video.shape[2:] != (224, 224):
        video = F.interpolate(video, (224, 224), mode="bilinear", align_corners=False)
    return video.permute(1, 0, 2, 3) / 127.5 - 1


def for_physnet(clip: np.ndarray) -> Tensor:
    """uint8 RGB (T, H, W, 3) to (3, T, 32, 32), each pixel the mean of what it covers."""
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in clip]
    return torch.from_numpy(np.stack(small)).permute(3, 0, 1, 2).float()


@dataclass(frozen=True)
class ImageExtractor:
    """{"features": (T', D)} of every ``fid_stride``-th frame."""

    features: FeatureNetwork
    protocol: Protocol
    name: str = "image"
    needs_sound: bool = False

    @property
    def label(self) -> str:
        return self.features.label

    def identity(self) -> dict[str, Any]:
        return {**self.features.identity(), "stride": self.protocol.fid_stride}

    def begin(self, view: View) -> "_Images":
        return _Images(self.features, self.protocol.fid_stride)


@dataclass
class _Images:
    features: FeatureNetwork
    stride: int
    seen: int = 0
    found: list[np.ndarray] = field(default_factory=list)

    def add(self, frames: np.ndarray) -> None:
        chosen = frames[-self.seen % self.stride :: self.stride]
        self.seen += len(frames)
        if len(chosen):
            self.found.append(self.features(torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous()))

    def finish(self) -> Arrays:
        return {"features": np.concatenate(self.found)}


@dataclass(frozen=True)
class VideoExtractor:
    """{"features": (n, D)} of clips of ``fvd_frames`` frames, ``fvd_stride`` apart."""

    features: FeatureNetwork
    protocol: Protocol
    name: str = "video"
    needs_sound: bool = False

    @property
    def label(self) -> str:
        return self.features.label

    def identity(self) -> dict[str, Any]:
        return {**self.features.identity(), "frames": self.protocol.fvd_frames, "stride": self.protocol.fvd_stride}

    def begin(self, view: View) -> "_Clips":
        needed = self.protocol.fvd_frames
        if view.num_frames < needed:
            raise UserError(f"its {view.num_frames} frames are fewer than the {needed} of a clip")
        return _Clips(self.features, needed, self.protocol.fvd_stride)


@dataclass
class _Clips:
    features: FeatureNetwork
    length: int
    stride: int
    waiting: list[np.ndarray] = field(default_factory=list)
    skip: int = 0
    found: list[np.ndarray] = field(default_factory=list)

    def add(self, frames: np.ndarray) -> None:
        for frame in frames:
            if self.skip:
                self.skip -= 1
                continue
            self.waiting.append(frame)
            if len(self.waiting) == self.length:
                self._take()

    def _take(self) -> None:
        assert self.features.prepare is not None
        self.found.append(self.features(self.features.prepare(np.stack(self.waiting))[None]))
        self.skip = max(self.stride - self.length, 0)
        self.waiting = self.waiting[self.stride :]

    def finish(self) -> Arrays:
        return {"features": np.concatenate(self.found)}
