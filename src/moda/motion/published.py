"""The statistics that were published with MoDA."""

from importlib.resources import files

import numpy as np

from moda.files import read_json
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

EPSILON = 1e-5


def moda_statistics() -> MotionStatistics:
    """Mean and standard deviation of ``liveportrait70`` motion as the MoDA release has them, numbers alone.

    They are used as published: (motion - mean) / (std + 1e-5) in every dimension, those too that hardly move.
    How many frames they were taken over is not known.
    """
    value = read_json(str(files("moda.motion") / "moda_statistics.json"))
    mean, std = np.array(value["mean"]), np.array(value["std"])
    return MotionStatistics(get_layout(value["layout"]), mean, std, 0, EPSILON)
