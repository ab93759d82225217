"""Integrating a velocity field from noise (sigma 1) to data (sigma 0), and the grids of sigmas to do it on."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from moda.errors import UserError
from moda.flow.path import cosine_sigma, shift_sigma

# velocity(x (B, ...), sigma () float32 on the CPU) -> (B, ...)
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


def cosine_grid(steps: int, offset: float = 0.008) -> torch.Tensor:
    """(steps + 1,) sigmas at equal steps of the cosine schedule of diffusion; Euler's method on them is DDIM.

    Both go to (1 - sigma) data + sigma noise with the data and noise that are predicted now (Song et al., 2021,
    equation 12 with eta 0).
    """
    _check_steps(steps)
    return torch.cat([cosine_sigma(torch.linspace(1, 0, steps + 1), offset)[:-1], torch.zeros(1)])


def euler(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """First order, one evaluation a step."""
    for now, then in _steps(sigmas):
        x = x + (then - now) * velocity(x, now)
    return x


def midpoint(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Second order, two evaluations a step; the last one lies above sigma 0."""
    for now, then in _steps(sigmas):
        half = (now + then) / 2
        x = x + (then - now) * velocity(x + (half - now) * velocity(x, now), half)
    return x


def heun(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Second order, two evaluations a step; the last one lies at sigma 0."""
    for now, then in _steps(sigmas):
        slope = velocity(x, now)
        x = x + (then - now) * (slope + velocity(x + (then - now) * slope, then)) / 2
    return x


def adams_bashforth(velocity: Velocity, x: torch.Tensor, sigmas: torch.Tensor, order: int = 3) -> torch.Tensor:
    """Order 2 or more at one evaluation a step: the slope is extrapolated from the last ``order`` velocities.

    Steps may be of any lengths (Hairer, Norsett and Wanner, "Solving ordinary differential equations I",
    section III.5). The first step of order 3 and more is Heun's, one evaluation more in all: Euler's would
    limit the whole to second order.
    """
    if order < 2:
        raise UserError(f"flow.solver.order={order}: at least 2; order 1 is euler")
    times = sigmas.double().cpu().tolist()
    past: deque[torch.Tensor] = deque(maxlen=order)
    for k, (now, then) in enumerate(_steps(sigmas)):
        past.append(velocity(x, now))
        if k == 0 and order > 2:
            slope = (past[0] + velocity(x + (then - now) * past[0], then)) / 2
        else:
            weights = _extrapolation(times[k + 1 - len(past) : k + 1], times[k + 1])
            slope = sum((weight * v for weight, v in zip(weights, past, strict=True)), torch.zeros_like(x))
        x = x + (then - now) * slope
    return x


def _extrapolation(times: Sequence[float], end: float) -> list[float]:
    """Weights of values at ``times`` in the mean, from the last of them to ``end``, of the polynomial through them."""
    step = end - times[-1]
    nodes = (np.array(times) - times[-1]) / step  # the step is 0 to 1
    powers = np.arange(len(nodes))
    return np.linalg.solve(nodes[None] ** powers[:, None], 1 / (powers + 1)).tolist()


SOLVERS: Mapping[str, Solver] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
    "adams_bashforth_2": partial(adams_bashforth, order=2),
    "adams_bashforth_3": adams_bashforth,
}


def solver_of(name: str) -> Solver:
    """A solver by the name that commands know it by."""
    if name not in SOLVERS:
        raise UserError(f"unknown solver {name!r}; known: {', '.join(SOLVERS)}")
    return SOLVERS[name]


def _steps(sigmas: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Neighbours among the sigmas, as numbers on the CPU: a GPU takes them along, and nobody has to wait to read them."""
    return list(pairwise(sigmas.cpu()))


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise UserError(f"{steps} sampling steps; at least 1 is needed")
