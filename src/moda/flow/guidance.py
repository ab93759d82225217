"""Classifier-free guidance (Ho and Salimans, 2022)."""

import torch

from moda.errors import UserError
from moda.flow.solvers import Velocity


def guide(velocity: Velocity, scale: float) -> Velocity:
    """Field u + scale (c - u), of a ``velocity`` that answers a doubled batch.

    velocity: takes (2B, ...), the first half to be answered with the conditions (c), the second
    without (u). At scale 1 the result is c alone, so ``velocity`` is returned as it is and takes
    (B, ...): half the work.
    Raises UserError for a negative scale.
    """
    if scale < 0:
        raise UserError(f"guidance scale {scale} is negative; 1 is no guidance, MoDA uses 1.2")
    if scale == 1:
        return velocity

    def guided(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        conditional, unconditional = velocity(torch.cat([x, x]), sigma).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return guided
