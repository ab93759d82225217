"""Does the motion, frame by frame, have the distribution of real motion?"""

from collections.abc import Sequence

import numpy as np

from moda.eval.distances import frechet_distance
from moda.eval.metrics.base import Metric, Score
from moda.eval.moments import Moments
from moda.eval.takes import Take

# A covariance of k dimensions needs several times k frames; neighbouring frames resemble each
# other, so ten frames are asked for each dimension kept.
FRAMES_PER_DIMENSION = 10
MAX_DIMENSIONS = 32


def motion_features(motion: np.ndarray, fps: int) -> np.ndarray:
    """Poses and their velocities: (T, D) scaled motion to (T - 1, 2 D); velocity per 0.1 s, to weigh like poses."""
    return np.concatenate([motion[1:], np.diff(motion, axis=0) * fps / 10], axis=1)


class FrechetMotion(Metric):
    """Fréchet distance of poses and velocities to the truth of the same clips.

    Both are projected on the leading principal components of the truth: at most 32, and at most a
    tenth of the number of frames. The projection depends on the truth alone, so rows compare.
    """

    title = "Fréchet motion"
    needs_truth = True
    better = "lower"
    meaning = (
        "squared Fréchet distance of poses and velocities to ground truth, in standard deviations of the training set, "
        "on up to 32 principal components of ground truth; biased upwards when frames are few"
    )

    def score(self, clips: Sequence[Sequence[Take]], *, seed: int = 0) -> Score:
        takes = [take for clip in clips for take in clip]
        if not takes:
            return Score(None)
        truth = np.concatenate([motion_features(take.scaled(take.truth), take.fps) for take in takes])
        motion = np.concatenate([motion_features(take.scaled(take.motion), take.fps) for take in takes])
        # frames of the clips, not of the takes: a second seed adds no new truth
        kept = min(MAX_DIMENSIONS, sum(len(clip[0].truth) for clip in clips if clip) // FRAMES_PER_DIMENSION)
        if kept < 1:
            return Score(None)
        centre = truth.mean(0)
        basis = np.linalg.eigh(np.cov(truth, rowvar=False))[1][:, ::-1][:, :kept]
        value = frechet_distance(*(Moments.of((frames - centre) @ basis) for frames in (motion, truth)))
        return Score(value, None, sum(1 for clip in clips if clip))
