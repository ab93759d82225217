"""Is it the same face, and do its lips stand where the truth's do?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take


class LipLandmarkDistance(ClipMetric):
    """Mean distance of the landmarks of the lips to the truth's, frame by frame, head motion taken out."""

    title = "lip landmark distance"
    group = "lips and sound"
    unit = "% of eye distance"
    needs_truth = True
    better = "lower"
    meaning = (
        "mean distance of 40 landmarks of the lips to ground truth's in the same frame, measured from the eyes, in "
        "percent of the distance of their outer corners; frames without a face in either are left out"
    )

    def of_take(self, take: Take) -> float:
        if take.found_lips is None or take.truth_found_lips is None:
            return float("nan")
        distances = np.linalg.norm(take.found_lips - take.truth_found_lips, axis=-1).mean(-1)  # (T,)
        distances = distances[np.isfinite(distances)]
        return 100 * float(distances.mean()) if len(distances) else float("nan")


class FaceShapeDistance(ClipMetric):
    """Distance of the median face, in three dimensions and without its pose, to the truth's."""

    title = "face shape distance"
    group = "identity"
    unit = "%"
    needs_truth = True
    better = "lower"
    meaning = (
        "root mean square distance of the landmarks of the median face, head pose taken out, to ground truth's, in "
        "percent of its size: geometry alone, not the likeness that a recognition network (CSIM) sees"
    )

    def of_take(self, take: Take) -> float:
        if take.shape is None or take.truth_shape is None:
            return float("nan")
        ours, truth = (np.asarray(shape, np.float64).reshape(-1, 3) for shape in (take.shape, take.truth_shape))
        ours, truth = ours - ours.mean(0), truth - truth.mean(0)
        return 100 * float(np.sqrt(((ours - truth) ** 2).sum() / (truth**2).sum()))


class HeadRange(ClipMetric):
    """How much the head turns: diversity of pose within a clip."""

    title = "head range"
    unit = "°"
    better = "truth"
    meaning = "standard deviation over time of pitch, yaw and roll, their mean"

    def of_take(self, take: Take) -> float:
        rotation = take.statistics.layout.groups.get("rotation")
        if rotation is None or not len(take.motion):
            return float("nan")
        return float(np.asarray(take.motion, np.float64)[:, rotation].std(0).mean())
