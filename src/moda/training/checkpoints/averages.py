"""Weight averages: how fast they forget, and one length made out of others; pure mathematics.

A power-function average (Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion
Models", CVPR 2024, section 3) weighs the weights of time t by t^gamma: its length grows with the
training. Its width is given as ``sigma_rel``, the standard deviation of that profile in units of the
training's length; an average of any width can be rebuilt afterwards from stored snapshots of two
others (their appendix C).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from moda.errors import UserError

SIGMA_REL_LIMIT = 1 / np.sqrt(12)  # a flat profile: the average over the whole training


class Average(Protocol):
    """``decay(t)``: share of the former average that update ``t`` (from 1) keeps. ``label`` names it."""

    @property
    def label(self) -> str: ...

    def decay(self, update: int) -> float: ...


@dataclass(frozen=True)
class Exponential:
    """Decay min(rate, (1 + t) / (10 + t)): the first updates do not hang on the initial weights."""

    rate: float

    def __post_init__(self):
        if not 0 <= self.rate < 1:
            raise UserError(f"ema.decay={self.rate}: must lie in [0, 1)")

    @property
    def label(self) -> str:
        return "exponential"

    def decay(self, update: int) -> float:
        return min(self.rate, (1 + update) / (10 + update))


@dataclass(frozen=True)
class PowerFunction:
    """Decay (1 - 1/t)^(gamma + 1), which leaves the profile (gamma + 1) s^gamma / t^(gamma + 1) of time s."""

    sigma_rel: float

    def __post_init__(self):
        gamma_of(self.sigma_rel)  # says what is out of range

    @property
    def label(self) -> str:
        return f"power-{self.sigma_rel:g}"

    def decay(self, update: int) -> float:
        return float((1 - 1 / update) ** (gamma_of(self.sigma_rel) + 1))


def gamma_of(sigma_rel: float) -> float:
    """Exponent whose profile has the relative width ``sigma_rel``; UserError outside (0, 0.2887)."""
    if not 0 < sigma_rel < SIGMA_REL_LIMIT:
        raise UserError(f"a power-function average of width {sigma_rel}: must lie in (0, {SIGMA_REL_LIMIT:.4f})")
    # sigma_rel^2 = (g + 1) / ((g + 2)^2 (g + 3)) as a cubic in g
    inverse = sigma_rel**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(max(root.real for root in roots if abs(root.imag) < 1e-8))


def profile_product(t_a: np.ndarray, gamma_a: np.ndarray, t_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """Integral over time of the product of two profiles that end at ``t_a`` and ``t_b``; broadcasts."""
    t_a, gamma_a, t_b, gamma_b = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (t_a, gamma_a, t_b, gamma_b)))
    # the later of the two reaches over the end of the earlier: only the common time counts
    earlier, later = np.minimum(t_a, t_b), np.maximum(t_a, t_b)
    gamma_later = np.where(t_a < t_b, gamma_b, gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * (earlier / later) ** gamma_later / later


def combination(
    times: Sequence[float], sigma_rels: Sequence[float], target_time: float, target_sigma_rel: float
) -> np.ndarray:
    """(n,) factors of n snapshots whose sum is closest to the average of another width.

    Snapshot i was taken after ``times[i]`` updates of the average of width ``sigma_rels[i]``. Closest is
    meant in the squared distance of the profiles.
    """
    t, gamma = np.asarray(times, np.float64), np.array([gamma_of(width) for width in sigma_rels])
    target_gamma = np.array(gamma_of(target_sigma_rel))
    among = profile_product(t[:, None], gamma[:, None], t[None], gamma[None])  # (n, n)
    with_target = profile_product(t, gamma, np.array(target_time), target_gamma)  # (n,)
    factors, *_ = np.linalg.lstsq(among, with_target, rcond=1e-12)
    return factors


def profile_error(
    times: Sequence[float],
    sigma_rels: Sequence[float],
    factors: np.ndarray,
    target_time: float,
    target_sigma_rel: float,
) -> float:
    """Relative distance between the profile that ``factors`` make and the one wanted, 0 where they agree."""
    t, gamma = np.asarray(times, np.float64), np.array([gamma_of(width) for width in sigma_rels])
    target_gamma = np.array(gamma_of(target_sigma_rel))
    target = float(profile_product(np.array(target_time), target_gamma, np.array(target_time), target_gamma))
    cross = profile_product(t, gamma, np.array(target_time), target_gamma)
    own = profile_product(t[:, None], gamma[:, None], t[None], gamma[None])
    squared = factors @ own @ factors - 2 * factors @ cross + target
    return float(np.sqrt(max(squared, 0.0) / target))
