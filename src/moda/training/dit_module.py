"""Training of the diffusion transformer by flow matching, on motion or on the latents of a motion VAE."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.checks import is_number
from moda.data.schema import EMOTIONS
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch, hashed_seed
from moda.devices import exact_float32
from moda.errors import UserError
from moda.files import sha256_of
from moda.flow.path import data_estimate, interpolate, timestep_of
from moda.flow.rectified import GUIDABLE, RectifiedFlow
from moda.generation.emotion import emotion_of
from moda.generation.published import PublishedWays
from moda.generation.sampler import MotionSampler
from moda.interop.compatibility import MotionIdentity, require_match
from moda.interop.export import NETWORK_FILE, SPACES, VAE_FILE, Export, export_directory, load_export
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.motion.controls import ControlSpace
from moda.training.base import Setup, TrainingModule
from moda.training.draws import Draws
from moda.training.losses import GroupErrors, dimension_weights, weighted_mean
from moda.training.objectives import Objectives, terms_of
from moda.training.vae_module import token_mask

CHANCES = 1 + len(GUIDABLE)  # uniform numbers a sample that decide on its conditions: of all together, and of each


@dataclass(frozen=True)
class ConditionDropout:
    """Probabilities of showing a sample without conditions, so that guidance has something to guide from.

    joint: all the conditions that guidance removes, together: the unconditional branch itself. The
    others are dropped independently on top of it. controls: of each of them, which guidance keeps.
    """

    joint: float = 0.1
    audio: float = 0.1
    emotion: float = 0.1
    identity: float = 0.1
    controls: float = 0.5

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not is_number(value) or not 0 <= value < 1:
                raise UserError(f"condition_dropout.{name}={value}: must lie in [0, 1)")

    def never_drops(self, name: str) -> bool:
        return not self.joint and not getattr(self, name)

    def conditions(self, chances: torch.Tensor, guided: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """drop_audio, drop_emotion, drop_identity, each (B,) bool, of (CHANCES, B) uniform numbers."""
        joint, *alone = chances
        drops = {name: chance < getattr(self, name) for name, chance in zip(GUIDABLE, alone, strict=True)}
        return {f"drop_{name}": drop | (joint < self.joint) if name in guided else drop for name, drop in drops.items()}

    def control_signals(self, chances: torch.Tensor) -> torch.Tensor:
        """(B, controls) bool, which of them each sample is not given, of (controls, B) uniform numbers."""
        return (chances < self.controls).T


class DiTModule(TrainingModule):
    """Loss: weighted squared error of the velocity at a random point of the path from noise to data (or of the data
    that it points to: sigma^2 of it), and further ``Objectives`` on the motion that it points to.

    network: spec of the transformer without the sizes that the data sets. space: ``motion`` or
    ``latent``; the latter works on the frozen motion VAE exported at ``motion_vae``.
    loss: ``weights``, see ``dimension_weights``, and ``Terms``. Latents have no groups: in their velocity all channels
    weigh alike, and the weights count where the motion is looked at.
    controls: names of the signals that may be given or not (``moda.motion.controls``); in training they are
    those of the clip itself. overlap: frames that sampling windows share. reference_scale: learn motion at the mean scale,
    by the ratio of a clip's first frame. published: arguments of ``PublishedWays``, for sampling. The velocity of a
    dead dimension is nothing to learn:
    it is held at 0 here as in sampling.
    """

    network: MMDiT

    def __init__(
        self,
        setup: Setup,
        *,
        network: Mapping[str, Any],
        space: str,
        motion_vae: str,
        flow: Mapping[str, Any],
        loss: Mapping[str, Any],
        condition_dropout: Mapping[str, float],
        overlap: int,
        reference_scale: bool,
        published: Mapping[str, Any],
        controls: Sequence[str] = (),
    ):
        super().__init__(setup)
        manifest = setup.manifest
        if space not in SPACES:
            raise UserError(f"model.space={space}: must be one of {', '.join(SPACES)}")
        self.space, self.overlap, self.reference_scale = space, overlap, reference_scale
        self.published = dict(published)
        self.flow_spec, self.flow = dict(flow), _flow(flow)
        self.dropout = ConditionDropout(**condition_dropout)
        self._warn_of_guidance()
        self._frozen: list[MotionVAE] = []  # a list hides it from the module tree
        self.vae_spec = None
        self.terms = terms_of(loss)
        by_dimension = dimension_weights(manifest.statistics, loss["weights"])
        self.controls = ControlSpace(controls, manifest.statistics) if controls else None
        stride, before = 1, max(1, network.get("context", 0))  # tokens that condition a window
        if space == "latent":
            vae = self._take_vae(motion_vae)
            self._warn_of_weights(loss["weights"])
            stride = vae.stride
            channels, self.previous = vae.latent_dim, before * stride + vae.encoder_context
            self.weight = self.alive = torch.ones(channels)
        else:
            channels, self.previous = manifest.layout.dim, before
            self.weight, self.alive = by_dimension, torch.from_numpy(manifest.statistics.alive).float()
        self.group_errors = GroupErrors(manifest.layout, by_dimension)
        self.objectives = Objectives(self.terms, manifest, by_dimension, setup.split, self.vae)
        for name, path in self.objectives.frozen.items():
            self.frozen[name] = sha256_of(export_directory(path) / NETWORK_FILE)
        self.network_spec = {
            **network,
            "motion_dim": channels,
            "audio_layers": manifest.audio_layers,
            "audio_dim": manifest.audio_dim,
            "identity_dim": manifest.identity_dim,
        }
        if self.controls:
            self.network_spec["controls"] = self.controls.channels
            self.control_matrix = torch.from_numpy(self.controls.matrix)  # (D, K)
        if self.controls or network.get("late_audio"):
            self.network_spec["frames_per_token"] = stride
        self.network = build(self.network_spec)
        if self.network.num_emotions != len(EMOTIONS):
            raise UserError(f"model.network.num_emotions={self.network.num_emotions}: data sets have {len(EMOTIONS)}")
        self.sampler(self.network)  # says now what does not fit together, not at the first preview

    def _take_vae(self, motion_vae: str) -> MotionVAE:
        export = load_export(motion_vae)
        if export.vae is None:
            raise UserError(f"model.motion_vae={motion_vae} holds no motion VAE; name a run of task=motion_vae")
        require_match(
            MotionIdentity.of(self.manifest),
            "the data set",
            export.identity,
            f"the motion VAE {motion_vae}",
            audio=False,
        )
        vae = export.vae
        self._frozen = [vae]
        self.frozen = {"motion_vae": sha256_of(export_directory(motion_vae) / VAE_FILE)}
        self.vae_spec = export.vae_spec
        if self.window % vae.stride:
            raise UserError(f"data.window={self.window} must be a multiple of the motion VAE's stride {vae.stride}")
        return vae

    def _warn_of_weights(self, weights: Mapping[str, float]) -> None:
        if any(weight != 1 for weight in weights.values()) and not self.terms.used:
            warnings.warn(
                "loss.weights do nothing in model.space=latent without loss.motion or another term of the motion; set them "
                "where the motion VAE is trained",
                stacklevel=2,
            )

    def _warn_of_guidance(self) -> None:
        scales = self.flow.guidance_of(None).scales
        if never := [name for name, scale in scales.items() if scale != 1 and self.dropout.never_drops(name)]:
            probabilities = ", ".join(f"condition_dropout.{name}=0" for name in ("joint", *never))
            warnings.warn(
                f"flow.guidance goes away from a network without {', '.join(never)}, which is never trained with "
                f"{probabilities}; raise one of these, or set that guidance to 1",
                stacklevel=2,
            )

    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        data, before, valid = self.tokens(batch)  # (B, N, C), (B, P', C), (B, N)
        noise = draws.normal(*data.shape[1:]) * self.alive
        sigma, chances = draws.times(self.flow.times, beside=CHANCES + self._signals)
        drops = self.dropout.conditions(chances[:CHANCES], self.flow.guided)
        noisy, velocity = interpolate(data, noise, sigma)
        predicted = self.network(
            noisy,
            timestep_of(sigma),
            audio=batch["audio"],
            identity=batch["identity"],
            emotion=batch["emotion"],
            intensity=batch["intensity"],
            previous_motion=before[:, -max(1, self.network.context) :],
            **drops,
            **self._controls(batch, chances[CHANCES:]),
        )
        squared = (predicted.float() - velocity.float()) ** 2
        if self.terms.target == "data":
            squared = squared * (sigma**2)[:, None, None]
        losses = {"loss": weighted_mean(squared, self.weight, valid)}
        if self.space == "motion":
            groups = self.group_errors(squared.detach(), valid)
            losses |= {f"error_{name}": value for name, value in groups.items()}
        if self.terms.used:
            estimate = data_estimate(noisy, predicted.float(), sigma)
            terms = self.objectives(estimate, before, batch, sigma, drops["drop_audio"])
            losses |= {"velocity": losses["loss"], "loss": losses["loss"] + self.objectives.total(terms), **terms}
        return losses

    @property
    def _signals(self) -> int:
        """How many controls the network takes."""
        return len(self.controls.channels) if self.controls else 0

    def _controls(self, batch: Batch, chances: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the controls of the window's own motion are, and which of them this step gives."""
        if self.controls is None:
            return {}
        signals = batch["motion"][:, self.previous :] @ self.control_matrix  # (B, W, K)
        return {"controls": signals, "drop_controls": self.dropout.control_signals(chances)}

    @torch.no_grad()
    def tokens(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Data (B, N, C), the tokens before it (B, P', C) and validity (B, N), in the space of training."""
        motion, valid = batch["motion"], batch["valid"]
        stride = 1
        if self.vae is not None:
            stride = self.vae.stride
            with torch.autocast(motion.device.type, enabled=False), exact_float32(motion.device):  # targets stay exact
                motion = self.vae.normalize(self.vae.encode(motion)[0])
            valid = token_mask(valid, stride)
        motion = motion * self.alive
        before = self.previous // stride
        return motion[:, before:], motion[:, :before], valid[:, before:]

    @property
    def vae(self) -> MotionVAE | None:
        """The frozen motion VAE of the latent space."""
        return self._frozen[0] if self._frozen else None

    def on_fit_start(self) -> None:
        self.weight, self.alive = self.weight.to(self.device), self.alive.to(self.device)
        if self.controls:
            self.control_matrix = self.control_matrix.to(self.device)
        self.group_errors.to(self.device)
        self.objectives.to(self.device)
        for vae in self._frozen:
            vae.to(self.device)

    def sampler(self, network: nn.Module) -> MotionSampler:
        """Samples with the weights ``network`` has at the time of the call."""
        return MotionSampler(
            network,  # type: ignore[arg-type]  # any that takes what an MMDiT takes
            statistics=self.manifest.statistics,
            vae=self.vae,
            window=self.window,
            overlap=self.overlap,
            previous=self.previous,
            flow=self.flow,
            reference_scale=self.reference_scale,
            published=PublishedWays(**self.published),
        )

    def reconstruct(self, network: nn.Module, clip: Clip) -> np.ndarray:
        seed = hashed_seed(self.setup_.seed, "preview", clip.key)
        emotion = emotion_of(clip.record.emotion, clip.record.emotion_intensity)
        audio, rest = clip.audio.astype(np.float32), clip.motion[0]
        parts = self.sampler(network).sample(audio, clip.identity, emotion, rest, seed=seed)
        return np.concatenate(list(parts))

    def export(self, network: nn.Module, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        return self._export_of_data(
            "dit",
            step,
            config,
            network=network,
            network_spec=self.network_spec,
            vae=self.vae,
            vae_spec=self.vae_spec,
            flow_spec=self.flow_spec,
            space=self.space,
            window=self.window,
            overlap=self.overlap,
            previous=self.previous,
            reference_scale=self.reference_scale,
            published=self.published,
        )


def _flow(spec: Mapping[str, Any]) -> RectifiedFlow:
    flow = build(spec)
    if not isinstance(flow, RectifiedFlow):
        raise UserError(f"flow must build a RectifiedFlow, not {type(flow).__name__}")
    return flow
