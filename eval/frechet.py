"""FID and FVD as torchmetrics: update with frames or features, compute, reset, over any number of ranks."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from moda.errors import UserError
from moda.eval.distances import frechet_distance, too_few
from moda.eval.moments import Moments, merge_packed


class Features(nn.Module):
    """One output of a frozen feature network, (B, D), as torchmetrics' own FID takes it too.

    network: returns (B, D), or a mapping in which ``key`` is. It is put into evaluation mode and frozen.
    """

    def __init__(self, network: nn.Module, key: str, num_features: int) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.key, self.num_features = key, num_features

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, also inside a module that trains."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Whatever the network takes to (B, D). Raises UserError where there is no such output."""
        output = self.network(inputs)
        if isinstance(output, Mapping):
            if self.key not in output:
                raise UserError(
                    f"{type(self.network).__name__} gives {', '.join(output)}, no {self.key!r}; name one of these"
                )
            output = output[self.key]
        return output


class FrechetMetric(Metric):
    """Fréchet distance between features of real and of generated inputs; what FID and FVD are.

    Moments are float64 whatever the network computes in, and merge exactly over batches and ranks: every
    rank calls ``compute`` and gets the number of all of them, also ranks that saw nothing.

    network: the feature network; without one ``update`` takes features only. feature: which of its
    outputs. num_features: its width D. reset_real_features: False keeps the reference set over ``reset``.
    The other arguments are torchmetrics'.
    """

    name: ClassVar[str]
    input_shape: ClassVar[str]
    feature: ClassVar[str]
    num_features: ClassVar[int]
    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    real: Tensor
    generated: Tensor

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        feature: str | None = None,
        num_features: int | None = None,
        reset_real_features: bool = True,
        **torchmetrics: Any,
    ) -> None:
        super().__init__(**torchmetrics)
        dimensions = self.num_features if num_features is None else num_features
        if dimensions < 1:
            raise UserError(f"{self.name} of {dimensions} features a sample; give num_features of at least 1")
        if network is None and feature is not None:
            raise UserError(f"{self.name} has no network to take feature {feature!r} from; give the network too")
        self.network = None if network is None else Features(network, feature or self.feature, dimensions)
        self.reset_real_features = reset_real_features
        for state in ("real", "generated"):
            self.add_state(state, Moments.empty(dimensions).packed, dist_reduce_fx=merge_packed)

    def moments(self, *, real: bool) -> Moments:
        """What was seen on this rank; inside ``sync_context`` on all of them."""
        return Moments(self.real if real else self.generated)

    def update(self, inputs: Tensor, real: bool, names: list[str] | None = None) -> None:
        """Add a batch to the real or to the generated set.

        inputs: what the network takes, or its features (B, D), from a cache. names: what each is, for
        the error. Raises UserError for another shape and for features that are not finite, named.
        """
        if inputs.ndim == 2:
            features = inputs
        elif self.network is None:
            raise UserError(
                f"{self.name} was given {tuple(inputs.shape)} and no network; give features (B, D) or a network"
            )
        elif inputs.ndim != self.input_shape.count(",") + 1:
            raise UserError(f"{self.name} needs {self.input_shape} or features (B, D), not {tuple(inputs.shape)}")
        else:
            features = self.network(inputs)
        self.moments(real=real).update(features, names)

    def compute(self) -> Tensor:
        """The distance, a float64 scalar. Raises UserError for fewer than 2 of either kind, warns for too few."""
        real, generated = self.moments(real=True), self.moments(real=False)
        if min(real.count, generated.count) < 2:
            raise UserError(
                f"{self.name} needs at least 2 samples of either kind, not {real.count} real and {generated.count} generated"
            )
        caution = too_few(min(real.count, generated.count), real.dimensions, self.name)
        if caution:
            warnings.warn(caution, stacklevel=2)
        return torch.tensor(frechet_distance(real, generated), dtype=torch.float64, device=self.real.device)

    def reset(self) -> None:
        """Forget both sets, or only the generated one."""
        kept = None if self.reset_real_features else self.real
        super().reset()
        if kept is not None:
            self.real = kept

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Only float64 is possible: shorter moments would not merge exactly. Raises UserError for others."""
        if dst_type not in (torch.float64, torch.double, "torch.DoubleTensor"):
            raise UserError(f"{self.name} sums in float64, not in {dst_type}; set the network's precision instead")
        return self


class FID(FrechetMetric):
    """Fréchet inception distance (Heusel et al., 2017) of frames (B, 3, H, W), as the network takes them.

    With ``FIDInception``: uint8, 2048 features. Which frames and how they are cropped is the caller's.
    """

    name, input_shape = "FID", "(B, 3, H, W)"
    feature, num_features = "2048", 2048


class FVD(FrechetMetric):
    """Fréchet video distance (Unterthiner et al., 2018) of clips (B, 3, T, H, W), as the network takes them.

    With ``I3D``: 224 x 224 in [-1, 1], 400 logits. How videos are cut into clips is the caller's.
    """

    name, input_shape = "FVD", "(B, 3, T, H, W)"
    feature, num_features = "logits", 400
