"""Motion at one size of face: scale and translation in units of a reference's scale.

Published MoDA brings every face to the mean scale, by the ratio of its reference's scale to the mean, and
back after sampling.
"""

import numpy as np

from moda.errors import UserError
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics


def scale_ratio(reference: np.ndarray, statistics: MotionStatistics) -> float:
    """How many times larger than the mean the face of ``reference`` (D,) is; UserError where it has no scale."""
    index = statistics.layout.groups["scale"].start
    scale, mean = float(reference[index]), float(statistics.mean[index])
    if scale * mean == 0 or not np.isfinite(scale):
        raise UserError(
            f"a face of scale {scale:.3g} cannot be brought to the mean scale {mean:.3g}; measure it again, or give "
            "reference_scale=false"
        )
    return scale / mean


def resize(motion: np.ndarray, factor: float, layout: MotionLayout) -> np.ndarray:
    """Motion (..., D) with scale and translation multiplied by ``factor``."""
    factors = np.ones(layout.dim, motion.dtype)
    for group in ("scale", "translation"):
        factors[layout.groups[group]] = factor
    return motion * factors
