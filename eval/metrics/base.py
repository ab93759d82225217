"""What every metric is: a column of the report that scores one row."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from moda.eval.intervals import mean_interval
from moda.eval.takes import Take

RESAMPLES = 2000  # of the bootstrap, where nothing else is asked for


@dataclass(frozen=True)
class Column:
    """What a report prints of a column.

    better: "higher", "lower", "1", "0", "truth" or "". group: the table it stands in, as "lips and sound"
    or "motion". digits: decimals shown.
    """

    title: str
    meaning: str
    group: str
    better: str = ""
    unit: str = ""
    digits: int = 2


@dataclass(frozen=True)
class Score:
    """One cell of the report.

    value: None where undefined (a motionless row correlates with nothing). interval: 95 %. n: clips it
    rests on. per_clip: key of a clip to its value, where clips have one. caution: why not to trust it, a reason a line.
    n_of: what else it rests on, as {"features": 3600, "reference_features": 4000} of a distance or {"tracks": 12}.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    n: int = 0
    per_clip: Mapping[str, float] = field(default_factory=dict)
    caution: str = ""
    n_of: Mapping[str, int] = field(default_factory=dict)


class Tally(Protocol):
    """What a metric keeps of the clips that it has seen: little, and not the takes themselves."""

    def add(self, takes: Sequence[Take]) -> None:
        """One clip's takes (one a seed, or one a derangement), at least one."""
        ...

    def score(self, seed: int = 0, resamples: int = RESAMPLES) -> Score:
        """Of all clips so far; ``seed`` and ``resamples`` are the bootstrap's."""
        ...


class Metric(ABC):
    """A column (see ``Column``, whose fields it has) and how to score it.

    needs_truth: whether it compares with a paired truth, and is undefined without.
    """

    title: str
    group: str = "motion"
    unit: str = ""
    better: str = ""
    meaning: str
    digits: int = 2
    needs_truth: bool = False

    @property
    def column(self) -> Column:
        return Column(self.title, self.meaning, self.group, self.better, self.unit, self.digits)

    @abstractmethod
    def tally(self) -> Tally:
        """An empty one, for one row."""

    def score(self, clips: Iterable[Sequence[Take]], *, seed: int = 0) -> Score:
        """Score one row from the takes of its clips, one clip after the other."""
        return score_all({"": self}, clips, seed=seed)[""]


def score_all(
    metrics: Mapping[str, Metric], clips: Iterable[Sequence[Take]], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """Every metric's score of one row. ``clips`` is gone through once and may be a generator; clips without takes are skipped."""
    tallies = {name: metric.tally() for name, metric in metrics.items()}
    for takes in clips:
        for tally in tallies.values() if takes else ():
            tally.add(takes)
    return {name: tally.score(seed, resamples) for name, tally in tallies.items()}


class ClipMetric(Metric):
    """A metric with one value a clip; the score is their mean, with a bootstrap interval over clips."""

    def tally(self) -> "_Values":
        return _Values(self)

    def of_clip(self, takes: Sequence[Take]) -> float:
        """One clip's value: the mean over its takes, NaN where none defines it."""
        values = np.array([self.of_take(take) for take in takes])
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    @abstractmethod
    def of_take(self, take: Take) -> float:
        """One take's value, NaN where it is undefined."""


@dataclass
class _Values:
    metric: ClipMetric
    by_clip: dict[str, float] = field(default_factory=dict)

    def add(self, takes: Sequence[Take]) -> None:
        self.by_clip[takes[0].key] = self.metric.of_clip(takes)

    def score(self, seed: int = 0, resamples: int = RESAMPLES) -> Score:
        return mean_score(self.by_clip, seed=seed, resamples=resamples)


def mean_score(by_clip: Mapping[str, float], *, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """The mean of the clips whose value is finite, with its bootstrap interval."""
    by_clip = {key: value for key, value in by_clip.items() if np.isfinite(value)}
    if not by_clip:
        return Score(None)
    values = np.array(list(by_clip.values()))
    if len(values) < 2:  # one clip says nothing about spread
        return Score(float(values[0]), None, 1, by_clip, "a single clip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caution says it
        found = mean_interval(values, resamples=resamples, seed=seed)
    return Score(found.value, (found.low, found.high), found.n, by_clip, found.caution)
