"""Integrating a velocity field from noise (sigma 1) to data (sigma 0), and the grids of sigmas to do it on."""

from collections.abc import Callable
from itertools import pairwise

import torch

from moda.errors import UserError
from moda.flow.path import shift_sigma

# velocity(x (B, ...), sigma () float32) -> (B, ...)
Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Solver = Callable[[Velocity, torch.Tensor, torch.Tensor], torch.Tensor]
Grid = Callable[[int], torch.Tensor]


def uniform_grid(steps: int, shift: float = 1.0) -> torch.Tensor:
    """(steps + 1,) sigmas from 1 to 0 in equal steps, then shifted; every step moves the sample."""
    _check_steps(steps)
    return shift_sigma(torch.linspace(1, 0, steps + 1), shift)


def published_grid(steps: int, minimum: float = 0.001) -> torch.Tensor:
    """(steps + 1,) sigmas as MoDA has them: ``steps`` from 1 to ``minimum``, then 0.

    The step from ``minimum`` to 0 moves next to nothing: one evaluation of the network is spent for it.
    """
    _check_steps(steps)
    if steps < 2:
        raise UserError("the published sigma grid needs at least 2 steps; use the uniform grid")
    return torch.cat([torch.linspace(1, minimum, steps), torch.zeros(1)])


def euler(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """First order, one evaluation a step."""
    for now, then in _steps(sigmas, x):
        x = x + (then - now) * velocity(x, now)
    return x


def midpoint(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Second order, two evaluations a step; the last one lies above sigma 0."""
    for now, then in _steps(sigmas, x):
        half = (now + then) / 2
        x = x + (then - now) * velocity(x + (half - now) * velocity(x, now), half)
    return x


def heun(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Second order, two evaluations a step; the last one lies at sigma 0."""
    for now, then in _steps(sigmas, x):
        slope = velocity(x, now)
        x = x + (then - now) * (slope + velocity(x + (then - now) * slope, then)) / 2
    return x


def _steps(sigmas: torch.Tensor, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(pairwise(sigmas.to(x.device)))


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise UserError(f"{steps} sampling steps; at least 1 is needed")
