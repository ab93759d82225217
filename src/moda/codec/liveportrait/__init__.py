"""Motion codec of implicit keypoints, by LivePortrait's networks (Guo et al., 2024) and official weights."""

from moda.codec.liveportrait.codec import LivePortraitCodec
from moda.codec.liveportrait.driving import Driving
from moda.codec.liveportrait.template import MotionTemplate

__all__ = ["Driving", "LivePortraitCodec", "MotionTemplate"]
