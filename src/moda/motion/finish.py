"""What the published pipeline does to motion after sampling; pure functions on whole clips, none of them on by default.

The facts are those of the MoDA release; where they leave something open, a docstring says how it is read here.
"""

import numpy as np

from moda.errors import UserError
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics

POSE = ("scale", "translation", "rotation")
# keypoint -> constant added to its y, to correct where eyes and lids look
GAZE = {11: 0.0025, 15: 0.0025, 13: 0.00075, 16: 0.00075}


def smooth_pose(motion: np.ndarray, layout: MotionLayout) -> np.ndarray:
    """(T, D) with scale, translation and rotation averaged over three frames; of the ends, over two."""
    out = motion.copy()
    kernel = np.ones(3)
    count = np.convolve(np.ones(len(motion)), kernel, mode="full")[1:-1]
    for name in POSE:
        for index in range(layout.dim)[layout.groups[name]]:
            out[:, index] = np.convolve(motion[:, index], kernel, mode="full")[1:-1] / count
    return out


def amplify_lips(motion: np.ndarray, rest: np.ndarray, statistics: MotionStatistics) -> np.ndarray:
    """(T, D) with the lips' distance from ``rest`` (D,) multiplied by 1 + w, w by frame.

    w = (sigmoid(5 d) - 0.5) / (0.1 d_max + 0.05), where d is a frame's distance, in normalised space, and
    d_max the greatest of the clip: it can only be done once all of the clip is there. That the distance is
    the Euclidean one over all lip dimensions is our reading.
    """
    lips = list(statistics.layout.subsets["lips"])
    offset = motion[:, lips] - rest[lips]
    distance = np.linalg.norm(offset / statistics.divisor[lips], axis=1)  # (T,)
    gain = (1 / (1 + np.exp(-5 * distance)) - 0.5) / (0.1 * distance.max(initial=0) + 0.05)
    out = motion.copy()
    out[:, lips] = rest[lips] + (1 + gain[:, None]) * offset
    return out


def shift_gaze(motion: np.ndarray, layout: MotionLayout) -> np.ndarray:
    """(T, 70) of ``liveportrait70`` with a constant added to the y of four keypoints of the eyes."""
    if layout.name != "liveportrait70":
        raise UserError(
            f"published.shift_gaze is for motion of layout liveportrait70, not {layout.name}; set it to false"
        )
    out = motion.copy()
    for keypoint, amount in GAZE.items():
        out[:, 3 * keypoint + 1] += amount
    return out
