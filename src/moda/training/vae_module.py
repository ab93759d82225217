"""Training of the motion VAE: reconstruction, its change from frame to frame, and a light prior."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.checks import is_weight
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch
from moda.devices import exact_float32
from moda.errors import UserError
from moda.interop.export import Export
from moda.models.bottlenecks import FiniteScalarQuantizer
from moda.models.motion_vae import MotionVAE
from moda.training.base import Setup, TrainingModule
from moda.training.draws import Draws
from moda.training.losses import GroupErrors, KeypointErrors, dimension_weights, temporal_difference, weighted_mean

LATENT_STD_FLOOR = 1e-3  # a channel the posterior has switched off is not blown up to unit variance


class MotionVAEModule(TrainingModule):
    """Loss: weighted squared error + ``temporal`` x that of the frame-to-frame change + ``keypoints`` x that of the
    keypoints that the codec makes of it + ``beta`` x KL.

    network: spec of the VAE without motion_dim. weights: see ``dimension_weights``.
    beta is per element of the latent, the errors are per dimension in units of its variance; see
    ``KeypointErrors`` for those of keypoints. Quantised latents have no KL; how evenly their levels are
    used is recorded instead.
    latent_frames: the latents' mean and deviation are measured over at most so many frames.
    """

    network: MotionVAE

    def __init__(
        self,
        setup: Setup,
        *,
        network: Mapping[str, Any],
        weights: Mapping[str, float],
        temporal: float,
        keypoints: float,
        beta: float,
        latent_frames: int,
    ):
        super().__init__(setup)
        for name, weight in {"temporal": temporal, "keypoints": keypoints, "beta": beta}.items():
            if not is_weight(weight):
                raise UserError(f"loss.{name}={weight}: must be a number, 0 or more")
        if not isinstance(latent_frames, int) or latent_frames < 1:
            raise UserError(f"task.module.latent_frames={latent_frames}: must be a whole number, at least 1")
        self.network_spec = {**network, "motion_dim": setup.manifest.layout.dim}
        self.network = build(self.network_spec)
        self.previous = 0
        self.temporal, self.beta, self.latent_frames = temporal, beta, latent_frames
        self.weight = dimension_weights(setup.manifest.statistics, weights)
        self.group_errors = GroupErrors(setup.manifest.layout, self.weight)
        self.keypoints = keypoints
        self.keypoint_errors = KeypointErrors(setup.manifest) if keypoints else None
        if beta and not self.network.bottleneck.prior:
            warnings.warn(f"loss.beta={beta} does nothing: quantised latents have no KL divergence", stacklevel=2)
        if setup.window % self.network.stride:
            raise UserError(
                f"data.window={setup.window} must be a multiple of model.network.stride={self.network.stride}"
            )

    def on_fit_start(self) -> None:
        self.weight = self.weight.to(self.device)
        self.group_errors.to(self.device)
        if self.keypoint_errors is not None:
            self.keypoint_errors.to(self.device)

    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        motion, valid = batch["motion"], batch["valid"]  # (B, W, D), (B, W)
        bottleneck = self.network.bottleneck
        latent, beside = self.network.encode(motion)  # (B, W / stride, Z) each
        decoded = self.network.decode(bottleneck.sample(latent, beside, draws.normal(*latent.shape[1:])))
        squared = (decoded - motion) ** 2
        change = (temporal_difference(decoded) - temporal_difference(motion)) ** 2
        parts = {
            "reconstruction": weighted_mean(squared, self.weight, valid),
            "temporal": weighted_mean(change, self.weight, valid[:, 1:]),
        }
        loss = parts["reconstruction"] + self.temporal * parts["temporal"]
        if bottleneck.prior:
            penalty = bottleneck.penalty(latent, beside)
            tokens = token_mask(valid, self.network.stride)
            parts["kl"] = weighted_mean(penalty, torch.ones_like(penalty[0, 0]), tokens)
            loss = loss + self.beta * parts["kl"]
        if self.keypoint_errors is not None:
            parts["keypoints"] = self.keypoint_errors(decoded, motion, batch["identity"], valid)
            loss = loss + self.keypoints * parts["keypoints"]
        if isinstance(bottleneck, FiniteScalarQuantizer):
            parts["level_use"] = bottleneck.level_use(latent.detach())
        groups = self.group_errors(squared.detach(), valid)
        return {"loss": loss, **parts, **{f"error_{name}": value for name, value in groups.items()}}

    @torch.no_grad()
    def reconstruct(self, network: nn.Module, clip: Clip) -> np.ndarray:
        assert isinstance(network, MotionVAE)
        return network.reconstruct(clip.motion, self.manifest.statistics)

    def export(self, network: nn.Module, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        assert isinstance(network, MotionVAE)
        measure_latents(network, shards, self.latent_frames)
        return self._export_of_data("motion_vae", step, config, vae=network, vae_spec=self.network_spec)


def measure_latents(vae: MotionVAE, shards: FeatureShards, frames: int) -> None:
    """Set the VAE's latent statistics to those of the first ``frames`` frames of ``shards``."""
    fill_latent_statistics(vae, _normalized(shards, vae.stride, frames, next(vae.parameters()).device))


def _normalized(shards: FeatureShards, stride: int, limit: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Normalised clips (T, D), T a multiple of the stride, until ``limit`` frames have come."""
    frames = 0
    for clip in shards:
        if frames >= limit:
            return
        whole = clip.num_frames // stride * stride
        frames += whole
        if whole:
            yield torch.from_numpy(shards.manifest.statistics.normalize(clip.motion[:whole])).to(device)


@torch.no_grad()
def fill_latent_statistics(vae: MotionVAE, clips: Iterable[torch.Tensor]) -> None:
    """Set the VAE's latent_mean and latent_std to those of the encoded ``clips``, each (T, D)."""
    count = 0
    total = squares = torch.zeros(vae.latent_dim, dtype=torch.float64)
    for clip in clips:
        with exact_float32(clip.device):
            latent = vae.encode(clip[None])[0][0].cpu().double()  # (T / stride, Z)
        count, total, squares = count + len(latent), total + latent.sum(0), squares + (latent**2).sum(0)
    if count < 2:
        raise UserError("no clip of the train split is as long as two latents; prepare longer clips")
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0)
    vae.latent_mean.copy_(mean)
    vae.latent_std.copy_(variance.sqrt().clamp(min=LATENT_STD_FLOOR))


def token_mask(valid: torch.Tensor, stride: int) -> torch.Tensor:
    """(B, T) frames to (B, T / stride) tokens: a token is valid if all of its frames are."""
    return valid.unflatten(1, (-1, stride)).all(2)
