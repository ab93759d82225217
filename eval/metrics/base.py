"""What every metric is: a column of the report that scores one row."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from moda.eval.metrics.bootstrap import bootstrap_interval
from moda.eval.takes import Take


@dataclass(frozen=True)
class Score:
    """value: None where undefined (a motionless row correlates with nothing); interval: 95 %; n: clips it rests on."""

    value: float | None
    interval: tuple[float, float] | None = None
    n: int = 0


class Metric(ABC):
    """title, unit, better ("higher", "lower", "1", "0", "truth" or "") and meaning are what the report prints."""

    title: str
    unit: str = ""
    better: str = ""
    meaning: str
    digits: int = 2

    @abstractmethod
    def score(self, clips: Sequence[Sequence[Take]], *, seed: int = 0) -> Score:
        """Score one row: for each clip its takes (one a seed, or one a derangement)."""


class ClipMetric(Metric):
    """A metric with one value a clip; the score is their mean, with a bootstrap interval over clips."""

    def score(self, clips: Sequence[Sequence[Take]], *, seed: int = 0) -> Score:
        values = np.array([self.of_clip(takes) for takes in clips if takes])
        values = values[np.isfinite(values)]
        if not len(values):
            return Score(None)
        return Score(float(values.mean()), bootstrap_interval(values, seed=seed), len(values))

    def of_clip(self, takes: Sequence[Take]) -> float:
        """One clip's value: the mean over its takes, NaN where none defines it."""
        values = np.array([self.of_take(take) for take in takes])
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    @abstractmethod
    def of_take(self, take: Take) -> float:
        """One take's value, NaN where it is undefined."""
