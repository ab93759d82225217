"""Fréchet and kernel distances of a row's features to the reference's, from the cache, a clip at a time."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from zlib import crc32

import numpy as np
from torch import Tensor

from moda.eval.distances import extrapolate_frechet, frechet_distance, kernel_distance, too_few
from moda.eval.intervals import Interval, frechet_differences, frechet_interval, leading_components
from moda.eval.metrics.base import Score
from moda.eval.moments import Moments
from moda.eval.videos.measure import Measured

MOST_FOR_KID = 4096  # features; more are thinned evenly, so that memory stays the same
FEWEST_TO_EXTRAPOLATE = 8  # clips
MOST_RESAMPLED = 512  # clips, or groups of them, whose moments are held at once


@dataclass(frozen=True)
class FeatureSet(Sequence):
    """The features of one row's clips, (T, D) each, read when asked for."""

    clips: Sequence[Measured]
    extractor: str

    @cached_property
    def usable(self) -> list[Measured]:
        return [clip for clip in self.clips if self.extractor not in clip.problems and self.extractor in clip.keys]

    @property
    def keys(self) -> set[str]:
        return {clip.key for clip in self.usable}

    def __len__(self) -> int:
        return len(self.usable)

    def __getitem__(self, index):
        return self._of(self.usable[index])

    def _of(self, clip: Measured) -> np.ndarray:
        arrays = clip.get(self.extractor)
        assert arrays is not None
        return arrays["features"]

    def by_key(self) -> Iterator[tuple[str, np.ndarray]]:
        for clip in self.usable:
            yield clip.key, self._of(clip)

    @cached_property
    def moments(self) -> Moments:
        """Of all features together."""
        total: Moments | None = None
        for _, features in self.by_key():
            total = (Moments.empty(features.shape[1]) if total is None else total).update(features)
        assert total is not None, "asked for with at least one clip"
        return total

    def projected(self, basis: Tensor, keys: Collection[str]) -> dict[str, Moments]:
        """Moments of each of the clips ``keys`` in the coordinates of ``basis`` (D, K).

        Beyond 512 clips several share one, the same ones in every set: memory stays the same.
        """
        found: dict[str, Moments] = {}
        for key, features in self.by_key():
            if key in keys:
                name = key if len(keys) <= MOST_RESAMPLED else f"{crc32(key.encode()) % MOST_RESAMPLED}"
                found.setdefault(name, Moments.empty(basis.shape[1])).update(features @ basis.numpy())
        return found

    def thinned(self, most: int) -> tuple[np.ndarray, list[str]]:
        """At most ``most`` features, evenly over all clips, and the clip of each."""
        step = max(1, -(-self.moments.count // most))
        kept, of, seen = [], [], 0
        for key, features in self.by_key():
            kept.append(features[-seen % step :: step].copy())  # a view would keep all of the clip's in memory
            of += [key] * len(kept[-1])
            seen += len(features)
        return np.concatenate(kept), of


def distance_scores(
    row: FeatureSet, reference: FeatureSet, label: str, *, paired: bool, resamples: int, seed: int, extrapolate: bool,
    fewest: int = 0,
) -> dict[str, Score]:  # fmt: skip
    """``label``, its KID and its extrapolation to infinitely many features.

    paired: whether the reference's clips are those of the row, and are drawn together. fewest: a caution
    stands beside a distance from fewer features. Empty where either has no features, undefined with a single one.
    """
    if not len(row) or not len(reference):
        return {}
    ours, theirs = row.moments, reference.moments
    count = min(ours.count, theirs.count)
    n_of = {"features": ours.count, "reference_features": theirs.count}
    if count < 2:
        caution = f"{label}: {count} feature has no covariance; give more or longer clips"
        return {label: Score(None, caution=caution, n_of=n_of)}
    value = frechet_distance(ours, theirs)
    cautions = [too_few(count, ours.dimensions, label) or ""]
    if count < fewest:
        cautions.append(f"{label}: {count} features; the protocol asks for {fewest}")
    interval: Interval | None = None
    keys = row.keys & reference.keys if paired else row.keys
    if len(keys) > 1:
        basis = leading_components([ours, theirs])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cautions say it
            other = reference.projected(basis, keys) if paired else theirs.project(basis)
            interval = frechet_interval(row.projected(basis, keys), other, resamples=resamples, seed=seed).around(value)
        cautions.append(interval.caution)
    bounds = (max(interval.low, 0.0), interval.high) if interval else None
    scores = {label: Score(value, bounds, len(row), caution="\n".join(filter(None, cautions)), n_of=n_of)}
    if count > 1 and {clip.sha256 for clip in row.usable} != {clip.sha256 for clip in reference.usable}:
        # of a set with itself it is negative: every feature meets its own copy
        (a, clips_a), (b, clips_b) = row.thinned(MOST_FOR_KID), reference.thinned(MOST_FOR_KID)
        kernel = kernel_distance(a, b, clips_a=clips_a, clips_b=clips_b)
        margin = 1.96 * kernel.error  # NaN of a single clip
        spread = (1000 * (kernel.value - margin), 1000 * (kernel.value + margin)) if np.isfinite(margin) else None
        scores[f"KID {label}"] = Score(1000 * kernel.value, spread, len(row))
    if extrapolate and min(len(row), len(reference)) >= FEWEST_TO_EXTRAPOLATE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            line = extrapolate_frechet(row, reference, seed=seed)
        band = (line.value - 1.96 * line.error, line.value + 1.96 * line.error)
        scores[f"{label}∞"] = Score(line.value, band, len(row), caution=line.caution)
    return scores


def distance_differences(
    methods: Mapping[str, FeatureSet], reference: FeatureSet, *, paired: bool, resamples: int, seed: int
) -> dict[tuple[str, str], Interval]:
    """Of every two methods, the one named first minus the other, over the clips that both have; none for fewer than two.

    Pairs that have the same clips are drawn together.
    """
    usable = {name: features for name, features in methods.items() if len(features) and features.moments.count > 1}
    if not len(reference) or reference.moments.count < 2:
        return {}
    alike: dict[frozenset[str], list[tuple[str, str]]] = {}
    for first, second in combinations(usable, 2):
        keys = usable[first].keys & usable[second].keys & (reference.keys if paired else usable[first].keys)
        if len(keys) > 1:
            alike.setdefault(frozenset(keys), []).append((first, second))
    found: dict[tuple[str, str], Interval] = {}
    for keys, pairs in alike.items():
        sets = {name: usable[name] for name in usable if any(name in pair for pair in pairs)}
        basis = leading_components([reference.moments, *(features.moments for features in sets.values())])
        other = reference.projected(basis, keys) if paired else reference.moments.project(basis)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cautions say it
            drawn = frechet_differences(
                {name: features.projected(basis, keys) for name, features in sets.items()},
                other,
                resamples=resamples,
                seed=seed,
            )
        found |= {pair: drawn[pair] for pair in pairs}
    return found
