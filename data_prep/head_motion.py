"""How restless a head is, in the measure by which MoDA's own preparation refuses clips. Costs nothing.

MoDA, released code of its preparation: the standard deviation of the differences from frame to frame, of each
angle in degrees and of the translation; a clip is refused where one is above its limit. Its limits were made
for LivePortrait's pose, which wavers little. Pose that is measured frame by frame wavers by as much as the
limits allow, so it is smoothed first, by less than a head takes to turn.
"""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter1d

from moda.motion.layout import MotionLayout

ANGLES = ("pitch", "yaw", "roll")
SMOOTHING = 2.0  # frames, standard deviation of the Gaussian


def head_motion(motion: np.ndarray, layout: MotionLayout) -> dict[str, float]:
    """Standard deviation of the frame-to-frame differences of (T, D) motion, by name: three angles in degrees, and
    ``translation``, the largest of its three, in the layout's units."""
    steps = np.diff(gaussian_filter1d(motion.astype(np.float64), SMOOTHING, axis=0, mode="nearest"), axis=0)
    if not len(steps):
        return dict.fromkeys((*ANGLES, "translation"), 0.0)
    deviations = steps.std(0)
    angles = deviations[layout.groups["rotation"]]
    return dict(zip(ANGLES, angles.tolist(), strict=True)) | {
        "translation": float(deviations[layout.groups["translation"]].max())
    }


def beyond(values: Mapping[str, float], limits: Mapping[str, float | None]) -> str | None:
    """What is said of the first value above its limit; None where there is none."""
    for name, limit in limits.items():
        if limit is not None and values[name] > limit:
            unit = "°" if name in ANGLES else ""
            value = told_apart(values[name], limit)
            return f"the head is restless: {name} changes by {value}{unit} a frame, more than {limit:g}{unit}"
    return None


def told_apart(value: float, limit: float) -> str:
    """``value`` in three digits, or in as many as it takes to read other than ``limit``."""
    digits = (f"{value:.{n}g}" for n in range(3, 17))
    return next((text for text in digits if float(text) != float(f"{limit:g}")), repr(value))
