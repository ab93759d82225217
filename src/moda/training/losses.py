"""Weighted errors over frames and dimensions; pure functions on tensors."""

from collections.abc import Mapping

import numpy as np
import torch

from moda.checks import is_weight
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.motion.keypoints import KEYPOINTS, motion_keypoints
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics


def dimension_weights(statistics: MotionStatistics, weights: Mapping[str, float]) -> torch.Tensor:
    """(D,) float32 weight of each dimension in a loss.

    weights: group or subset of the layout -> weight, 1 where nothing is said. A subset (lips, eyes)
    overrides the group that it lies in. Dead dimensions weigh nothing.
    Raises UserError for a name that the layout lacks, or a negative weight.
    """
    layout = statistics.layout
    known = {**{name: range(layout.dim)[part] for name, part in layout.groups.items()}, **layout.subsets}
    for name, weight in weights.items():
        if name not in known:
            raise UserError(f"loss.weights has {name!r}; layout {layout.name} has {', '.join(known)}")
        if not is_weight(weight):
            raise UserError(f"loss.weights.{name}={weight}: must be a number, 0 or more")
    values = np.ones(layout.dim, np.float32)
    for name in sorted(weights, key=lambda name: name not in layout.groups):  # groups first
        values[list(known[name])] = weights[name]
    values[~statistics.alive] = 0
    if not values.any():
        raise UserError("loss.weights leaves no dimension to learn; give one a weight above 0")
    return torch.from_numpy(values)


def weighted_mean(values: torch.Tensor, weight: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over the samples of each one's mean of ``values`` (B, N, C), weighted by dimension (C,), over its
    valid (B, N) tokens.

    Every sample counts alike, so the mean of equal parts of a batch is that of the batch: ranks and
    accumulated micro-batches add up to the same loss. A sample without a valid token counts 0.
    """
    weights = weight * valid[..., None]  # (B, N, C)
    each = (values * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=torch.finfo(values.dtype).tiny)
    return each.mean()


def temporal_difference(x: torch.Tensor) -> torch.Tensor:
    """Change from frame to frame: (B, T, C) to (B, T - 1, C)."""
    return x[:, 1:] - x[:, :-1]


class GroupErrors:
    """Mean squared error over each group of a layout and the lips, for the record.

    Dimensions of ``weight`` (D,) 0 are left out; so is a group with nothing else. All groups are one
    product with a matrix made beforehand: a step launches few kernels and never waits for the device.
    """

    def __init__(self, layout: MotionLayout, weight: torch.Tensor):
        parts: dict[str, list[int]] = {name: list(range(layout.dim)[part]) for name, part in layout.groups.items()}
        if "lips" in layout.subsets:
            parts["lips"] = list(layout.subsets["lips"])
        counted = {name: [index for index in dims if weight[index] > 0] for name, dims in parts.items()}
        self.names = tuple(name for name, dims in counted.items() if dims)
        self.share = torch.zeros(layout.dim, len(self.names))
        for column, name in enumerate(self.names):
            self.share[counted[name], column] = 1 / len(counted[name])

    def to(self, device: torch.device) -> "GroupErrors":
        self.share = self.share.to(device)
        return self

    def __call__(self, squared: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """squared: (B, T, D), valid: (B, T). The mean over the samples of each one's mean, as ``weighted_mean``."""
        frames = valid[..., None]
        each = (squared * frames).sum(1) / frames.sum(1).clamp(min=1)  # (B, D)
        errors = (each.mean(0)[:, None] * self.share).sum(0)  # not a matmul, which autocast would round
        return dict(zip(self.names, errors.unbind(), strict=True))


class InUnits:
    """Normalised motion (..., D) in the layout's units; the statistics stay on one device, so that no step moves them."""

    def __init__(self, statistics: MotionStatistics):
        self.mean = torch.from_numpy(statistics.mean).float()
        self.std = torch.from_numpy(np.where(statistics.alive, statistics.std, 0.0)).float()

    def to(self, device: torch.device) -> "InUnits":
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def __call__(self, motion: torch.Tensor) -> torch.Tensor:
        return motion.float() * self.std + self.mean


KEYPOINT_UNIT = 0.01  # of half the picture's width, 1.3 pixels of 256


class KeypointErrors:
    """Mean squared distance of keypoints, in units of (0.01 half picture widths)^2, for layout liveportrait70.

    In the layout an error of the rotation and one of a lip are standard deviations alike; here both are
    what they do to the picture. Raises UserError for a data set whose codec has no keypoints.
    """

    def __init__(self, manifest: DatasetManifest):
        if manifest.layout.name != "liveportrait70" or manifest.identity_dim != 3 * KEYPOINTS:
            raise UserError(
                f"loss.keypoints needs motion of layout liveportrait70 and identities of {KEYPOINTS} canonical keypoints; "
                f"this data set has {manifest.layout.name} and {manifest.identity_dim} numbers; set it to 0"
            )
        self.in_units = InUnits(manifest.statistics)

    def to(self, device: torch.device) -> "KeypointErrors":
        self.in_units.to(device)
        return self

    def __call__(
        self, made: torch.Tensor, truth: torch.Tensor, identity: torch.Tensor, valid: torch.Tensor
    ) -> torch.Tensor:
        """made, truth: (B, T, 70) normalised. identity: (B, 63) canonical keypoints. valid: (B, T). A scalar."""
        canonical = identity.float().unflatten(-1, (KEYPOINTS, 3))[:, None]  # (B, 1, 21, 3)
        made, truth = (motion_keypoints(self.in_units(x), canonical) for x in (made, truth))
        squared = ((made - truth) / KEYPOINT_UNIT).square().sum(-1)  # (B, T, 21)
        return weighted_mean(squared, torch.ones_like(squared[0, 0]), valid)
