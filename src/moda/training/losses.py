"""Weighted errors over frames and dimensions; pure functions on tensors."""

from collections.abc import Mapping

import numpy as np
import torch

from moda.errors import UserError
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
        if weight < 0:
            raise UserError(f"loss.weights.{name}={weight} is negative")
    values = np.ones(layout.dim, np.float32)
    for name in sorted(weights, key=lambda name: name not in layout.groups):  # groups first
        values[list(known[name])] = weights[name]
    values[~statistics.alive] = 0
    if not values.any():
        raise UserError("loss.weights leaves no dimension to learn; give one a weight above 0")
    return torch.from_numpy(values)


def weighted_mean(values: torch.Tensor, weight: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean of ``values`` (B, N, C) weighted by dimension (C,) over the valid (B, N) tokens; 0 where none is."""
    weights = weight * valid[..., None]  # (B, N, C)
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(values.dtype).tiny)


def temporal_difference(x: torch.Tensor) -> torch.Tensor:
    """Change from frame to frame: (B, T, C) to (B, T - 1, C)."""
    return x[:, 1:] - x[:, :-1]


def group_errors(
    squared: torch.Tensor, valid: torch.Tensor, layout: MotionLayout, weight: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Mean of ``squared`` (B, T, D) over each group of the layout and the lips, for the record.

    Dimensions of weight 0 are left out; so is a group with nothing else.
    """
    parts: dict[str, list[int]] = {name: list(range(layout.dim)[part]) for name, part in layout.groups.items()}
    if "lips" in layout.subsets:
        parts["lips"] = list(layout.subsets["lips"])
    counted = (weight > 0).to(squared.dtype)
    return {
        name: weighted_mean(squared[..., dims], counted[dims], valid)
        for name, dims in parts.items()
        if counted[dims].any()
    }
