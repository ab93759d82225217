"""How far apart two sets of features are: Fréchet distance, its limit for infinitely many features, KID."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moda.errors import UserError
from moda.eval.moments import Moments, checked

Clips = Sequence[Tensor | np.ndarray]  # the features of each clip, (T, D)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance of the Gaussians with these moments (Dowson and Landau, 1982), in float64.

    Raises UserError for a set of fewer than 2 features. See ``too_few`` for when to believe it.
    """
    if a.dimensions != b.dimensions:
        raise UserError(f"features of {a.dimensions} and {b.dimensions} dimensions have no distance")
    return float(gaussian_distance(a.mean, root(a.covariance), b.mean, root(b.covariance)))


def root(covariance: Tensor) -> Tensor:
    """F (..., D, R) with F F^T = covariance (..., D, D) of rank R.

    Directions whose variance is rounding error are left out: a square root would lift 1e-16 to 1e-8.
    """
    values, vectors = torch.linalg.eigh(covariance)
    noise = values[..., -1:] * values.shape[-1] * torch.finfo(values.dtype).eps
    values = torch.where(values > noise, values, 0)
    kept = (values > 0).reshape(-1, values.shape[-1]).any(0)
    return vectors[..., kept] * values[..., None, kept].sqrt()


def gaussian_distance(mean_a: Tensor, root_a: Tensor, mean_b: Tensor, root_b: Tensor) -> Tensor:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2) for means (..., D) and roots (..., D, R) of A and B.

    The trace of (A B)^1/2 is the sum of the singular values of root_a^T root_b, which no rank makes
    unstable and no negative eigenvalue can spoil.
    """
    crossed = torch.linalg.svdvals(root_a.mT @ root_b).sum(-1)
    means = (mean_a - mean_b).square().sum(-1)
    return (means + root_a.square().sum((-2, -1)) + root_b.square().sum((-2, -1)) - 2 * crossed).clamp_min(0)


def too_few(count: int, dimensions: int, what: str = "Fréchet distance") -> str | None:
    """What to tell the reader of a Fréchet distance of ``count`` features, None where they are enough.

    Up to ``dimensions`` features the covariance is singular, and the distance counts its missing directions
    as a difference. The bias beyond falls as 1 / count; ``extrapolate_frechet`` takes it away.
    """
    if count > dimensions:
        return None
    return (
        f"{what}: {count} features are too few for {dimensions} dimensions, the covariance is singular and the "
        f"number is biased upwards; compare it only at equal counts, or give more than {dimensions}, or read KID"
    )


TOGETHER = 64  # clips whose features are held at once: enough to be fast, few enough to fit


@dataclass(frozen=True)
class Extrapolation:
    """A Fréchet distance for infinitely many features.

    value: where the line meets 1 / n = 0; below 0 for sets that cannot be told apart. error: its standard
    error from the scatter about the line alone. slope: bias of the whole sets. fractions, distances: what
    the line was fitted to. caution: why not to believe it, empty otherwise.
    """

    value: float
    error: float
    slope: float
    fractions: tuple[float, ...]
    distances: tuple[float, ...]
    caution: str = ""


def extrapolate_frechet(
    generated: Clips, reference: Clips | Moments, *, points: int = 15, lowest: float = 0.25, seed: int = 0
) -> Extrapolation:
    """FID or FVD without its bias: a straight line in 1 / n through random parts of the data (Chong and Forsyth, 2020).

    Parts are of whole clips, as frames of one clip repeat each other. ``generated`` and ``reference`` are
    thinned alike, to a share f of each from ``lowest`` to 1, and the line is one in 1 / f: it takes
    away the bias of both. A reference given as moments stays whole and keeps its own bias, as in the paper.
    Warns where the smallest part is too small for the line to be straight; raises UserError for fewer than
    8 clips. Costs ``points`` distances: minutes for 2048 dimensions on one core.
    """
    fewest = min(len(generated), len(generated) if isinstance(reference, Moments) else len(reference))
    if fewest < 8:
        raise UserError(f"{fewest} clips are too few to extrapolate from; give at least 8")
    if points < 3 or not 0 < lowest < 1:
        raise UserError(f"a line needs at least 3 points and a lowest share in (0, 1), not {points} and {lowest}")
    rng = np.random.default_rng(seed)
    fractions = np.linspace(lowest, 1, points)
    fixed = reference if isinstance(reference, Moments) else None
    fixed_root = None if fixed is None else root(fixed.covariance)
    distances, counts = [], []
    for fraction in fractions:
        part = _part(generated, fraction, rng)
        other = fixed if isinstance(reference, Moments) else _part(reference, fraction, rng)
        assert other is not None
        other_root = root(other.covariance) if fixed_root is None else fixed_root
        distances.append(float(gaussian_distance(part.mean, root(part.covariance), other.mean, other_root)))
        counts.append(min(part.count, other.count))
    caution = too_few(min(counts), generated[0].shape[1], "extrapolation to infinite n") or ""
    if caution:
        warnings.warn(caution, stacklevel=2)
    value, slope, error = _line(1 / fractions, np.array(distances))
    return Extrapolation(value, error, slope, tuple(fractions.tolist()), tuple(distances), caution)


def _part(clips: Clips, fraction: float, rng: np.random.Generator) -> Moments:
    chosen = rng.permutation(len(clips))[: max(2, round(fraction * len(clips)))]
    first = torch.as_tensor(clips[chosen[0]])
    part = Moments.empty(first.shape[1], first.device)
    for start in range(0, len(chosen), TOGETHER):
        part.update(torch.cat([torch.as_tensor(clips[index]) for index in chosen[start : start + TOGETHER]]))
    return part


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Intercept, slope and the standard error of the intercept of the least-squares line."""
    centred = x - x.mean()
    slope = (centred @ y) / (centred @ centred)
    intercept = y.mean() - slope * x.mean()
    variance = ((y - intercept - slope * x) ** 2).sum() / (len(x) - 2)
    return float(intercept), float(slope), float(np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / (centred @ centred))))


@dataclass(frozen=True)
class KernelDistance:
    """value: unbiased, so below 0 half of the time for equal distributions. error: its standard error."""

    value: float
    error: float


def kernel_distance(
    a: Tensor | np.ndarray,
    b: Tensor | np.ndarray,
    *,
    clips_a: Sequence[object] | None = None,
    clips_b: Sequence[object] | None = None,
    block: int = 1024,
) -> KernelDistance:
    """KID (Binkowski et al., 2018): unbiased squared MMD of features (n, D), (m, D), kernel (x.y / D + 1)^3.

    The full U-statistic instead of the mean over random subsets, so there is nothing to seed. Kernels
    are made ``block`` by ``block``. The standard error is of first order (Hoeffding): the spread of what
    each feature contributes. clips_a, clips_b: the clip of each row; contributions are then summed by
    clip first, without which frames that resemble their neighbours count as independent.
    Raises UserError for fewer than 2 features.
    """
    a, b = checked(a), checked(b, np.shape(a)[1])
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise UserError(f"KID needs at least 2 features on either side, not {n} and {m}")
    within_a = (_kernel_sums(a, a, block)[0] - _kernel(a, a, paired=True)) / (n - 1)
    within_b = (_kernel_sums(b, b, block)[0] - _kernel(b, b, paired=True)) / (m - 1)
    of_a, of_b = _kernel_sums(a, b, block)
    across_a, across_b = of_a / m, of_b / n
    value = within_a.mean() + within_b.mean() - across_a.mean() - across_b.mean()
    variance = _variance_of_mean(within_a - across_a, clips_a) + _variance_of_mean(within_b - across_b, clips_b)
    return KernelDistance(float(value), float(2 * variance**0.5))


def _kernel(x: Tensor, y: Tensor, *, paired: bool = False) -> Tensor:
    """(n, m) for x (n, D) and y (m, D); only k(x_i, y_i), (n,), where paired."""
    products = (x * y).sum(1) if paired else x @ y.T
    return (products / x.shape[1] + 1) ** 3


def _kernel_sums(x: Tensor, y: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Kernels of x (n, D) and y (m, D) summed over y, (n,), and over x, (m,)."""
    over_y, over_x = x.new_zeros(len(x)), x.new_zeros(len(y))
    for rows, row_sums in zip(x.split(block), over_y.split(block), strict=True):
        for columns, column_sums in zip(y.split(block), over_x.split(block), strict=True):
            kernel = _kernel(rows, columns)
            row_sums += kernel.sum(1)
            column_sums += kernel.sum(0)
    return over_y, over_x


def _variance_of_mean(contributions: Tensor, clips: Sequence[object] | None) -> float:
    """Variance of the mean of contributions (n,), independent between clips or, without clips, between rows."""
    deviations = (contributions - contributions.mean()).cpu().numpy()
    if clips is not None:
        if len(clips) != len(deviations):
            raise UserError(f"{len(clips)} clips are named for {len(deviations)} features; name one for each row")
        _, index = np.unique(np.asarray(clips), return_inverse=True)
        deviations = np.bincount(index, deviations)
    if len(deviations) < 2:
        return float("nan")
    return float((deviations**2).sum() / len(contributions) ** 2 * len(deviations) / (len(deviations) - 1))
