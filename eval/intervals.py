"""How sure a number over clips is: bootstrap intervals of means, of Fréchet distances, and of differences."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from moda.errors import UserError
from moda.eval.distances import frechet_distance, gaussian_distance, root
from moda.eval.moments import Moments

FEW_CLIPS = 20  # where 92 % of the 95 % intervals of a normal mean hold it; 90 % do at ten clips, 83 % at five
FEWEST_RESAMPLES = 100
MOST_DIMENSIONS = 128  # of resampled sets: a draw then costs milliseconds, against 17 s in 2048 dimensions
BLOCK = 64  # draws whose covariances are held at once

ClipSets = Mapping[str, Moments]  # key of a clip to the moments of its features


@dataclass(frozen=True)
class Interval:
    """value: what was measured. low, high: its interval. n: clips. bias: by how much resampling lifts the value.

    caution: why the interval is not to be trusted, empty otherwise.
    """

    value: float
    low: float
    high: float
    n: int
    bias: float = 0.0
    caution: str = ""

    def around(self, value: float) -> "Interval":
        """The same spread about ``value``: about a distance in all dimensions, of one measured in some."""
        return replace(self, value=value, low=self.low + value - self.value, high=self.high + value - self.value)


def resample_counts(n: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each of ``n`` clips is drawn, with replacement, in each resample: (resamples, n), rows sum to n."""
    draws = np.random.default_rng(seed).integers(0, n, (resamples, n))
    draws += n * np.arange(resamples)[:, None]
    return np.bincount(draws.ravel(), minlength=resamples * n).reshape(resamples, n)


def mean_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values`` (n,), one a clip (Efron, 1979).

    Raises UserError for fewer than two values, as one says nothing about spread, and for one that is
    not finite. Warns below 20, where the interval is too narrow.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise UserError(
            f"value {int(np.argmin(np.isfinite(values)))} of {len(values)} is not finite; leave its clip out"
        )
    caution = _check(len(values), level, resamples)
    draws = resample_counts(len(values), resamples, seed) @ values / len(values)
    value, (low, high) = values.mean(), _quantiles(draws, level)
    return Interval(float(value), low, high, len(values), float(draws.mean() - value), caution)


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of ``first`` minus ``second``, clip by clip over the clips that both have (key to value).

    What makes one clip harder than another falls out: far narrower than the two intervals suggest.
    """
    common = [key for key in first if key in second]
    differences = np.array([first[key] - second[key] for key in common])
    undefined = [key for key, difference in zip(common, differences, strict=True) if not np.isfinite(difference)]
    if undefined:
        raise UserError(f"the difference is not finite for {', '.join(undefined[:5])}; leave such clips out of both")
    return mean_interval(differences, level=level, resamples=resamples, seed=seed)


def two_way_interval(
    values: np.ndarray, other: np.ndarray | None = None, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Interval of the mean of ``values`` (seeds, clips), over both: seeds and clips are drawn with replacement.

    With ``other`` (its seeds, the same clips) that of the mean difference: clips are drawn for both together, as
    what makes one hard falls out, seeds for each apart. Owen, "The pigeonhole bootstrap" (2007): it errs towards
    wide, but knows of seeds only what the few that there are show.

    Raises UserError for fewer than two clips and for values that are not finite. Warns below 20 clips.
    """
    values = np.asarray(values, np.float64)
    sides = [values] if other is None else [values, np.asarray(other, np.float64)]
    if any(side.shape[1:] != values.shape[1:] or not np.isfinite(side).all() for side in sides):
        raise UserError("intervals over seeds and clips need finite values of the same clips; leave other clips out")
    clips = values.shape[1]
    caution = _check(clips, level, resamples)
    drawn = resample_counts(clips, resamples, seed) / clips
    means = [
        np.einsum("rs,sn,rn->r", resample_counts(len(side), resamples, seed + 1 + k) / len(side), side, drawn)
        for k, side in enumerate(sides)
    ]
    draws = means[0] if other is None else means[0] - means[1]
    value = sides[0].mean() - (0.0 if other is None else sides[1].mean())
    return Interval(float(value), *_quantiles(draws, level), clips, float(draws.mean() - value), caution)


def frechet_interval(
    generated: ClipSets, reference: ClipSets | Moments, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Interval of FID or FVD over clips, from the moments of each clip; no feature is computed again.

    A reference by clips is drawn together with the generated clips of the same keys; one given as
    moments stays whole. The value is the distance in all dimensions. Beyond 128 dimensions its spread
    is that of the 128 leading components of everything; a set whose full moments would not fit may come
    projected on ``leading_components`` already, and the interval then be moved by ``around``.

    A resample has fewer different clips than the set and lies further away, so that the plain percentile
    interval misses more often than not what it is about. Its percentiles are moved by that bias, to lie
    about the value: the interval says how the distance *at this number of clips* would vary, rather too
    wide than too narrow, and leaves the bias of the distance itself to ``extrapolate_frechet``.

    Raises UserError for fewer than two common clips, warns below 20.
    """
    keys = _common_keys([generated] if isinstance(reference, Moments) else [generated, reference])
    caution = _check(len(keys), level, resamples)
    values, draws = _distances([generated], reference, keys, resamples, seed)
    return _moved(values[0], draws[0], level, len(keys), caution)


def frechet_differences(
    methods: Mapping[str, ClipSets],
    reference: ClipSets | Moments,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[tuple[str, str], Interval]:
    """FID or FVD of every method minus that of every later one, over the clips that all have, drawn together.

    Otherwise as ``frechet_interval``; each method is resampled once, however many there are.
    """
    keys = _common_keys([*methods.values(), *([] if isinstance(reference, Moments) else [reference])])
    caution = _check(len(keys), level, resamples)
    values, draws = _distances(list(methods.values()), reference, keys, resamples, seed)
    return {
        (first, second): _moved(values[i] - values[j], draws[i] - draws[j], level, len(keys), caution)
        for (i, first), (j, second) in combinations(enumerate(methods), 2)
    }


def leading_components(sets: Sequence[Moments], most: int = MOST_DIMENSIONS) -> Tensor:
    """The ``most`` directions in which all sets together vary most, between their means too: (D, at most ``most``)."""
    return torch.linalg.eigh(Moments.merged(sets).scatter)[1].flip(1)[:, :most]


def _distances(
    methods: Sequence[ClipSets], reference: ClipSets | Moments, keys: Sequence[str], resamples: int, seed: int
) -> tuple[list[float], np.ndarray]:
    """Each method's distance to the reference, and its distances in the same resamples: (methods, resamples)."""
    drawn = not isinstance(reference, Moments)
    groups = [[clips[key] for key in keys] for clips in (*methods, *([reference] if drawn else []))]
    groups += [] if drawn else [[reference]]
    wholes = [Moments.merged(group) for group in groups]
    values = [frechet_distance(whole, wholes[-1]) for whole in wholes[:-1]]
    resampled = values
    if wholes[-1].dimensions > MOST_DIMENSIONS:
        basis = leading_components(wholes, MOST_DIMENSIONS)
        groups = [[clip.project(basis) for clip in group] for group in groups]
        wholes = [whole.project(basis) for whole in wholes]
        resampled = [frechet_distance(whole, wholes[-1]) for whole in wholes[:-1]]
    *stacks, other = (_Stack(group, wholes[-1].mean) for group in groups)
    draws = []
    counts = torch.from_numpy(resample_counts(len(keys), resamples, seed)).to(wholes[-1].packed)
    for block in counts.split(BLOCK):
        to = other.gaussians(block if drawn else block.new_ones(1, 1))
        draws.append(torch.stack([gaussian_distance(*stack.gaussians(block), *to) for stack in stacks]))
    left_out = np.subtract(values, resampled)  # by the projection
    return values, torch.cat(draws, 1).cpu().numpy() + left_out[:, None]


class _Stack:
    """Clips' moments about a common centre, where they add up."""

    def __init__(self, clips: Sequence[Moments], centre: Tensor) -> None:
        means = torch.stack([clip.mean for clip in clips]) - centre  # (n, K)
        self.counts = torch.stack([clip.packed[0, 0] for clip in clips])
        self.sums = means * self.counts[:, None]
        self.seconds = torch.stack([clip.scatter for clip in clips])  # (n, K, K)
        self.seconds += self.sums[:, :, None] * means[:, None]

    def gaussians(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Means (R, K) from the centre and roots (R, K, K) of covariances of resamples (R, n)."""
        totals = draws @ self.counts
        means = draws @ self.sums / totals[:, None]
        scatters = torch.einsum("rn,nkl->rkl", draws, self.seconds)
        scatters -= totals[:, None, None] * means[:, :, None] * means[:, None]
        return means, root(scatters / (totals - 1)[:, None, None])


def _common_keys(sets: Sequence[ClipSets]) -> list[str]:
    keys = [key for key in sets[0] if all(key in other for other in sets)]
    empty = [key for key in keys if any(clips[key].count == 0 for clips in sets)]
    if empty:
        raise UserError(f"no features of {', '.join(empty[:5])}; leave such clips out")
    return keys


def _check(n: int, level: float, resamples: int) -> str:
    """A caution for few clips. Raises UserError where there is no interval at all."""
    if n < 2:
        raise UserError(f"an interval over clips needs at least 2 of them in common, not {n}")
    if not 0 < level < 1 or resamples < FEWEST_RESAMPLES:
        raise UserError(
            f"an interval needs a level in (0, 1) and at least {FEWEST_RESAMPLES} resamples, not {level} and {resamples}"
        )
    if n >= FEW_CLIPS:
        return ""
    caution = f"{n} clips are few for an interval, it is too narrow; give at least {FEW_CLIPS}"
    warnings.warn(caution, stacklevel=3)
    return caution


def _moved(value: float, draws: np.ndarray, level: float, n: int, caution: str) -> Interval:
    bias = float(draws.mean() - value)
    low, high = _quantiles(draws - bias, level)
    return Interval(value, low, high, n, bias, caution)


def _quantiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
