"""What a motion sequence is: named dimensions, statistics, rotations, smoothing."""

from moda.motion.layout import LAYOUTS, MotionLayout, get_layout
from moda.motion.statistics import MotionStatistics, StatisticsAccumulator

__all__ = ["LAYOUTS", "MotionLayout", "MotionStatistics", "StatisticsAccumulator", "get_layout"]
