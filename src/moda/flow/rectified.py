"""The settings of flow matching that training and generation share, as one configured object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from moda.checks import is_number, names_of
from moda.errors import UserError, first_of
from moda.flow.guidance import WHOLE, Guidance, Scale
from moda.flow.solvers import Grid, Solver, euler, solver_of, uniform_grid
from moda.flow.time_sampling import TimeSampler, UniformTimes

GUIDABLE = ("audio", "emotion", "identity")


@dataclass(frozen=True)
class RectifiedFlow:
    """What ``conf/flow/*.yaml`` describes.

    times: distribution of sigma in training.
    solver, grid, steps: how a sample is integrated; ``steps`` is the default of generation.
    guided: the conditions that the unconditional branch lacks, in the order in which guidance adds them.
    guidance: default scale of all of them, or of each by name (1 where it is not named); 1 is none.
    guidance_interval: sigmas at which it is applied.
    """

    times: TimeSampler = field(default_factory=UniformTimes)
    solver: Solver = euler
    grid: Grid = uniform_grid
    steps: int = 10
    guidance: Scale = 1.2
    guided: tuple[str, ...] = ("audio", "emotion")
    guidance_interval: tuple[float, float] = WHOLE

    def __post_init__(self):
        object.__setattr__(self, "guided", names_of("flow.guided", self.guided))  # a list when it comes from YAML
        unknown = [name for name in self.guided if name not in GUIDABLE]
        if unknown or not self.guided or len(set(self.guided)) < len(self.guided):
            raise UserError(f"flow.guided must name some of {', '.join(GUIDABLE)}, not {list(self.guided)}")
        if self.steps < 1:
            raise UserError(f"flow.steps={self.steps}: at least 1 is needed")
        named = self.guidance if isinstance(self.guidance, Mapping) else ()
        if others := [name for name in named if name not in self.guided]:
            raise UserError(
                f"flow.guidance names {', '.join(others)}, but flow.guided={list(self.guided)} does not; set both, as "
                f"flow.guided=[{','.join(self.guided)}] flow.guidance=1.2"
            )
        sigmas, _ = self.plan(None, None)
        self.solver(lambda x, sigma: x, torch.zeros(1), sigmas)  # a solver that cannot work says so now

    def guidance_of(self, scale: Scale | None) -> Guidance:
        """Guidance at one ``scale``, at one for each condition by name, or (None) at the run's own.

        Raises UserError for a negative scale and for a condition that is not guided: the network has hardly
        been trained without it.
        """
        scale = self.guidance if scale is None else scale
        if isinstance(scale, Mapping):
            others = [name for name in scale if name not in self.guided]
            if others:
                raise UserError(
                    f"guidance of {', '.join(others)}: this run was trained with flow.guided={list(self.guided)}"
                )
            scales = {name: scale.get(name, 1.0) for name in self.guided}
        else:
            scales = dict.fromkeys(self.guided, scale)
        return Guidance(scales, self.guidance_interval)

    def plan(self, steps: int | None, guidance: Scale | None) -> tuple[torch.Tensor, Guidance]:
        """The sigmas and the guidance of a sampling, None is the run's own; UserError where they cannot be."""
        steps = self.steps if steps is None else steps
        sigmas = self.grid(steps)
        if not ((sigmas >= 0) & (sigmas <= 1)).all() or not (sigmas.diff() < 0).all():  # NaN is neither
            raise UserError(
                f"flow.grid: its sigmas for {steps} steps do not fall from 1 to 0 but are {_shown(sigmas)}; shift must be "
                "above 0, minimum and offset small and above 0"
            )
        return sigmas, self.guidance_of(guidance)

    def sampled(
        self, solver: str | None = None, shift: float | None = None, interval: Sequence[float] | None = None
    ) -> "RectifiedFlow":
        """The same flow integrated otherwise: by a solver's name, on the uniform grid shifted, guided in an interval.

        None leaves what there is.
        """
        if shift is not None and not (is_number(shift) and shift > 0):
            raise UserError(f"shift={shift}: must be above 0 (1 leaves the grid as it is)")
        changes = {
            "solver": None if solver is None else solver_of(solver),
            "grid": None if shift is None else partial(uniform_grid, shift=shift),
            "guidance_interval": interval,
        }
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def _shown(sigmas: torch.Tensor) -> str:
    return first_of([f"{sigma:.4g}" for sigma in sigmas.tolist()], 4)


def parse_guidance(text: str) -> Scale:
    """A scale, or one for each condition as ``audio=2,emotion=1.5``; UserError for anything else."""
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=", 1) for part in text.split(",")]
        scales = {name.strip(): float(value) for name, value in pairs}
        if len(scales) < len(pairs):
            raise ValueError("a condition comes twice")
        return scales
    except ValueError as error:
        raise UserError(f"guidance {text!r} cannot be read; give 1.5, or audio=2,emotion=1.5") from error
