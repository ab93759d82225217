"""Distributions of the sigmas that training sees."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from moda.errors import UserError
from moda.flow.path import cosine_sigma, shift_sigma


class TimeSampler(ABC):
    """Distribution over sigma, made of a standard normal number (``normal``) or else of a uniform one."""

    normal: ClassVar[bool] = False

    @abstractmethod
    def of(self, noise: torch.Tensor) -> torch.Tensor:
        """``noise`` of any shape, standard normal or uniform in [0, 1), to sigmas in [0, 1]."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """(count,) float32, on the generator's device (the CPU without one)."""
        draw = torch.randn if self.normal else torch.rand
        return self.of(draw(count, generator=generator, device=generator.device if generator else "cpu"))


@dataclass(frozen=True)
class UniformTimes(TimeSampler):
    """Uniform in [minimum, maximum], then shifted. MoDA: [0.001, 1], shift 1."""

    minimum: float = 0.001
    maximum: float = 1.0
    shift: float = 1.0

    def __post_init__(self):
        if not 0 <= self.minimum < self.maximum <= 1:
            raise UserError(f"flow.times: need 0 <= minimum < maximum <= 1, not {self.minimum} and {self.maximum}")
        _check_shift(self.shift)

    def of(self, noise: torch.Tensor) -> torch.Tensor:
        return shift_sigma(self.minimum + (self.maximum - self.minimum) * noise, self.shift)


@dataclass(frozen=True)
class LogitNormalTimes(TimeSampler):
    """sigma = sigmoid(mean + std normal), then shifted: more training in the middle of the path.

    Esser et al., Stable Diffusion 3, equation 19.
    """

    normal: ClassVar[bool] = True
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self):
        if self.std <= 0:
            raise UserError(f"flow.times.std is {self.std}; it must be above 0")
        _check_shift(self.shift)

    def of(self, noise: torch.Tensor) -> torch.Tensor:
        return shift_sigma(torch.sigmoid(self.mean + self.std * noise), self.shift)


@dataclass(frozen=True)
class CosineTimes(TimeSampler):
    """Uniform over the time of the cosine schedule of denoising diffusion (see ``cosine_sigma``)."""

    offset: float = 0.008

    def __post_init__(self):
        if not 0 < self.offset < 1:
            raise UserError(f"flow.times.offset is {self.offset}; it must lie between 0 and 1")

    def of(self, noise: torch.Tensor) -> torch.Tensor:
        return cosine_sigma(noise, self.offset)


def _check_shift(shift: float) -> None:
    if shift <= 0:
        raise UserError(f"flow.times.shift is {shift}; it must be above 0 (1 leaves the times as they are)")
