"""What a diffusion transformer is trained on beside its velocity: terms of the one-step estimate of the motion.

The network says v at a point x of the path; x - sigma v is where it would arrive in one step, the mean of all motion
that x may come from. The terms are about that motion, in standard deviations of the training set, whatever sigma
is: errors of the velocity's change, as published, would weigh the same fault 1 / sigma^2 times as much.
docs/objectives.md defines each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from moda.checks import is_weight
from moda.data.schema import DatasetManifest
from moda.data.windows import Batch
from moda.errors import UserError
from moda.interop.compatibility import MotionIdentity
from moda.interop.sync_expert import load_sync_expert, shared_speakers
from moda.models.motion_vae import MotionVAE
from moda.models.sync_expert import SyncExpert, sync_loss
from moda.training.losses import InUnits, KeypointErrors, temporal_difference, weighted_mean

TARGETS = ("velocity", "data")


@dataclass(frozen=True)
class Terms:
    """Weights in the loss; 0 leaves a term out. What ``loss`` of conf/task/dit.yaml holds, without the weights of dimensions.

    smooth_lips: whether the smoothness of lips counts as well. sync_expert: run of task=sync_expert.
    """

    target: str = "velocity"
    motion: float = 0.0
    temporal: float = 0.0
    smoothness: float = 0.0
    smooth_lips: bool = False
    keypoints: float = 0.0
    sync: float = 0.0
    sync_expert: str | None = None

    def __post_init__(self):
        if self.target not in TARGETS:
            raise UserError(f"loss.target={self.target}: must be one of {', '.join(TARGETS)}")
        for name, weight in self.weights.items():
            if not is_weight(weight):
                raise UserError(f"loss.{name}={weight}: must be 0 or more")
        if self.sync and not self.sync_expert:
            raise UserError(f"loss.sync={self.sync} needs loss.sync_expert=RUN, a run of task=sync_expert")
        if self.sync_expert and not self.sync:
            raise UserError("loss.sync_expert does nothing with loss.sync=0; give it a weight, or leave it out")
        if self.smooth_lips and not self.smoothness:
            raise UserError("loss.smooth_lips does nothing with loss.smoothness=0; give it a weight, or leave it out")

    @property
    def weights(self) -> dict[str, float]:
        names = ("motion", "temporal", "smoothness", "keypoints", "sync")
        return {name: getattr(self, name) for name in names}

    @property
    def used(self) -> dict[str, float]:
        return {name: weight for name, weight in self.weights.items() if weight}


class Objectives:
    """The terms in use, on the motion itself: in the latent space through the frozen decoder.

    weights: (D,) of the dimensions, see ``dimension_weights``. split: of the data set that is trained on.
    expert: None where it is not asked for. Raises UserError for an expert of the same speakers.
    """

    def __init__(
        self, terms: Terms, manifest: DatasetManifest, weights: torch.Tensor, split: str, vae: MotionVAE | None
    ):
        self.terms, self.vae, self.in_units = terms, vae, InUnits(manifest.statistics)
        self.weight = weights
        self.smoothed = weights.clone()
        if not terms.smooth_lips:  # to close for a p takes them two frames
            self.smoothed[list(manifest.layout.subsets["lips"])] = 0
        self.keypoint_errors = KeypointErrors(manifest) if terms.keypoints else None
        self.expert, self.expert_path = self._expert(manifest, split)

    def _expert(self, manifest: DatasetManifest, split: str) -> tuple[SyncExpert | None, str | None]:
        path = self.terms.sync_expert
        if path is None:
            return None, None
        expert, export = load_sync_expert(path, MotionIdentity.of(manifest), "the data set")
        shared = shared_speakers(export, manifest.splits.get(split, ()))
        if shared:
            raise UserError(
                f"the sync expert {path} has been trained on speakers of this training ({', '.join(shared[:5])}); set some "
                "apart with moda prepare splits.expert=0.2, and train the expert on them"
            )
        return expert, path

    @property
    def frozen(self) -> dict[str, str]:
        """Networks that are used and not trained: name to the run that they are of."""
        return {"sync_expert": self.expert_path} if self.expert_path else {}

    def to(self, device: torch.device) -> "Objectives":
        self.weight, self.smoothed = self.weight.to(device), self.smoothed.to(device)
        self.in_units.to(device)
        if self.keypoint_errors is not None:
            self.keypoint_errors.to(device)
        if self.expert is not None:
            self.expert.to(device)
        return self

    def __call__(
        self,
        estimate: torch.Tensor,
        before: torch.Tensor,
        batch: Batch,
        sigma: torch.Tensor,
        drop_audio: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Each term in use, unweighted, by name.

        estimate: (B, N, C) of the tokens. before: (B, P', C) the true tokens before them. batch: its motion
        (B, P + W, D) is the truth. sigma: (B,). drop_audio: (B,) samples that were not shown their sound.
        """
        with torch.autocast(estimate.device.type, enabled=False):
            made = self._motion(estimate.float(), before.float())  # (B, W, D) normalised
            frames = made.shape[1]
            truth, valid = batch["motion"][:, -frames:], batch["valid"][:, -frames:]
            last = batch["motion"][:, -frames - 1 : -frames]  # the change into the window counts: there lie the seams
            joined, true = torch.cat([last, made], 1), torch.cat([last, truth], 1)
            used, terms = self.terms.used, {}
            if "motion" in used:
                terms["motion"] = weighted_mean((made - truth) ** 2, self.weight, valid)
            if "temporal" in used:
                change = (temporal_difference(joined) - temporal_difference(true)) ** 2
                terms["temporal"] = weighted_mean(change, self.weight, valid)
            if "smoothness" in used:
                bend = temporal_difference(temporal_difference(joined)) ** 2
                terms["smoothness"] = weighted_mean(bend, self.smoothed, valid[:, 1:])
            if self.keypoint_errors is not None:
                terms["keypoints"] = self.keypoint_errors(made, truth, batch["identity"], valid)
            if self.expert is not None:
                pair = self.in_units(made), self.in_units(truth)
                # of noise alone the estimate says little, and without the sound nothing
                weight = (1 - sigma) * ~drop_audio
                terms["sync"] = sync_loss(self.expert, *pair, batch["audio"].float(), valid, weight)
        return terms

    def total(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor | float:
        """What ``terms`` add to the loss."""
        return sum(weight * terms[name] for name, weight in self.terms.used.items())

    def _motion(self, estimate: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        if self.vae is None:
            return estimate
        tokens = torch.cat([before, estimate], 1)
        motion = self.vae.decode(self.vae.denormalize(tokens))
        return motion[:, before.shape[1] * self.vae.stride :]


def terms_of(loss: Mapping[str, Any]) -> Terms:
    """The terms of ``loss``, which also holds ``weights``."""
    return Terms(**{name: value for name, value in loss.items() if name != "weights"})
