"""Classifier-free guidance (Ho and Salimans, 2022), with a scale for each condition and an interval of time.

Conditions n_1 ... n_m, in order, have scales s_1 ... s_m. With v_k the velocity that is shown the first k of them
(and everything that is not guided), the guided velocity is

    v = v_0 + s_1 (v_1 - v_0) + s_2 (v_2 - v_1) + ... + s_m (v_m - v_(m-1))

as Brooks et al. (InstructPix2Pix, 2023, equation 3) have it for two. Where all scales are s it is the usual
v_0 + s (v_m - v_0): between equal scales nothing has to be evaluated. It costs one pass of the network for each run of
equal scales, and one more unless the first scale is 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch

from moda.checks import is_number, is_weight
from moda.errors import UserError
from moda.flow.solvers import Velocity

# velocity(x (B, ...), sigma (), branches) -> (B, ...) for each branch, the conditions that it is not shown
BranchVelocity = Callable[[torch.Tensor, torch.Tensor, tuple[tuple[str, ...], ...]], Sequence[torch.Tensor]]
Scale = float | Mapping[str, float]  # one of all guided conditions, or one for each by name
WHOLE = (0.0, 1.0)


@dataclass(frozen=True)
class Guidance:
    """scales: of each guided condition, in order; 1 is none. interval: sigmas (low, high) at which it is applied.

    Outside of the interval the network is shown all conditions once: guidance hurts at high noise and does
    nothing at low (Kynkäänniemi et al., 2024).
    """

    scales: Mapping[str, float] = field(default_factory=dict)
    interval: tuple[float, float] = WHOLE

    def __post_init__(self):
        for name, scale in self.scales.items():
            if not is_weight(scale):
                raise UserError(f"guidance of {name} is {scale}; 1 is none, MoDA uses 1.2, and it cannot be negative")
        object.__setattr__(self, "interval", _interval(self.interval))

    def without(self, name: str) -> "Guidance":
        """The same field with one pass less, where no row has condition ``name``: both sides of its step are equal."""
        return replace(self, scales={other: scale for other, scale in self.scales.items() if other != name})

    @property
    def _runs(self) -> list[tuple[float, int]]:
        """(scale, number of conditions up to its end) of each run of equal scales."""
        scales = list(self.scales.values())
        return [(scale, k + 1) for k, scale in enumerate(scales) if k + 1 == len(scales) or scales[k + 1] != scale]

    @property
    def branches(self) -> tuple[tuple[str, ...], ...]:
        """What each pass of the network is not shown, from the most to nothing."""
        names, runs = tuple(self.scales), self._runs
        skip = bool(runs) and runs[0][0] == 1
        ends = [0, *(end for _, end in runs)]
        return tuple(names[end:] for end in ends[skip:])

    @property
    def steps(self) -> tuple[float, ...]:
        """What the difference of each branch to the one before it is multiplied by."""
        runs = self._runs
        return tuple(scale for scale, _ in runs[bool(runs) and runs[0][0] == 1 :])


def _interval(ends: Sequence[float]) -> tuple[float, float]:
    """A tuple of them, which are a list when they come from YAML; UserError for what is no interval."""
    if isinstance(ends, Sequence) and len(ends) == 2 and all(is_number(end) for end in ends):
        low, high = ends
        if 0 <= low < high <= 1:
            return low, high
    shown = list(ends) if isinstance(ends, tuple) else ends
    raise UserError(f"flow.guidance_interval={shown}: needs two numbers [low, high] with 0 <= low < high <= 1")


def guide(velocity: BranchVelocity, guidance: Guidance) -> Velocity:
    """The guided field."""
    branches, steps = guidance.branches, guidance.steps
    low, high = guidance.interval
    always = guidance.interval == WHOLE

    def guided(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if not steps or not (always or low <= round(float(sigma), 6) <= high):  # 0.8 is 0.8 in float32 too
            return velocity(x, sigma, ((),))[0]
        parts = velocity(x, sigma, branches)
        result = parts[0]
        for scale, (before, after) in zip(steps, pairwise(parts), strict=True):
            result = result + scale * (after - before)
        return result

    return guided
