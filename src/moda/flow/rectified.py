"""The settings of flow matching that training and generation share, as one configured object."""

from dataclasses import dataclass, field

from moda.errors import UserError
from moda.flow.solvers import Grid, Solver, euler, uniform_grid
from moda.flow.time_sampling import TimeSampler, UniformTimes

GUIDABLE = ("audio", "emotion", "identity")


@dataclass(frozen=True)
class RectifiedFlow:
    """What ``conf/flow/*.yaml`` describes.

    times: distribution of sigma in training.
    solver, grid, steps: how a sample is integrated; ``steps`` is the default of generation.
    guidance: default scale, 1 is none. guided: the conditions that the unconditional branch lacks.
    """

    times: TimeSampler = field(default_factory=UniformTimes)
    solver: Solver = euler
    grid: Grid = uniform_grid
    steps: int = 10
    guidance: float = 1.2
    guided: tuple[str, ...] = ("audio", "emotion")

    def __post_init__(self):
        object.__setattr__(self, "guided", tuple(self.guided))  # a list when it comes from YAML
        unknown = [name for name in self.guided if name not in GUIDABLE]
        if unknown or not self.guided:
            raise UserError(f"flow.guided must name some of {', '.join(GUIDABLE)}, not {list(self.guided)}")
        if self.steps < 1 or self.guidance < 0:
            raise UserError(f"flow needs steps >= 1 and guidance >= 0, not {self.steps} and {self.guidance}")
