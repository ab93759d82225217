"""Does the motion, frame by frame, have the distribution of real motion?"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from moda.eval.distances import frechet_distance
from moda.eval.intervals import frechet_interval, leading_components
from moda.eval.metrics.base import RESAMPLES, Metric, Score
from moda.eval.moments import Moments
from moda.eval.takes import Take

# A covariance of k dimensions needs several times k frames; neighbouring frames resemble each
# other, so ten frames are asked for each dimension kept.
FRAMES_PER_DIMENSION = 10
MAX_DIMENSIONS = 32
GROUPS = 64  # that are resampled; with more clips several share one


def motion_features(motion: np.ndarray, fps: int) -> np.ndarray:
    """Poses and their velocities: (T, D) scaled motion to (T - 1, 2 D); velocity per 0.1 s, to weigh like poses."""
    return np.concatenate([motion[1:], np.diff(motion, axis=0) * fps / 10], axis=1)


class FrechetMotion(Metric):
    """Fréchet distance of poses and velocities to the truth of the same clips.

    Both are projected on the leading principal components of the truth: at most 32, and at most a
    tenth of the number of frames. The projection depends on the truth alone, so rows compare. A clip of a single
    frame has no velocity and is not counted.
    """

    title = "Fréchet motion"
    needs_truth = True
    better = "lower"
    meaning = (
        "squared Fréchet distance of poses and velocities to ground truth, in standard deviations of the training set, "
        "on up to 32 principal components of ground truth; biased upwards when frames are few"
    )

    def tally(self) -> "_Distributions":
        return _Distributions()


@dataclass
class _Distributions:
    """Moments of motion and truth: of each clip, or of up to 64 groups of clips, so that memory stays the same."""

    groups: list[tuple[Moments, Moments]] = field(default_factory=list)
    clips: int = 0
    frames: int = 0  # of the clips, not of the takes: a second seed adds no new truth

    def add(self, takes: Sequence[Take]) -> None:
        takes = [take for take in takes if min(len(take.motion), len(take.truth)) > 1]  # one frame has no velocity
        if not takes:
            return
        pairs = [
            (motion_features(take.scaled(take.motion), take.fps), motion_features(take.scaled(take.truth), take.fps))
            for take in takes
        ]
        motion, truth = (Moments.of(np.concatenate(side)) for side in zip(*pairs, strict=True))
        if len(self.groups) < GROUPS:
            self.groups.append((motion, truth))
        else:
            group = self.groups[self.clips % GROUPS]
            group[0].merge(motion)
            group[1].merge(truth)
        self.clips += 1
        self.frames += len(takes[0].truth)

    def score(self, seed: int = 0, resamples: int = RESAMPLES) -> Score:
        kept = min(MAX_DIMENSIONS, self.frames // FRAMES_PER_DIMENSION)
        if kept < 1:
            return Score(None)
        basis = leading_components([Moments.merged([truth for _, truth in self.groups])], kept)
        motions, truths = (
            {f"{number}": group[side].project(basis) for number, group in enumerate(self.groups)} for side in (0, 1)
        )
        value = frechet_distance(*(Moments.merged(list(sets.values())) for sets in (motions, truths)))
        if len(self.groups) < 2:
            return Score(value, None, self.clips, caution="a single clip")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the caution says it
            interval = frechet_interval(motions, truths, resamples=resamples, seed=seed)
        return Score(value, (max(interval.low, 0.0), interval.high), self.clips, caution=interval.caution)
