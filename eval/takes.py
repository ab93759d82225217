"""What a metric looks at: one row's motion for one clip, beside the truth."""

from dataclasses import dataclass

import numpy as np

from moda.motion.statistics import MotionStatistics


@dataclass(frozen=True)
class Take:
    """One motion for one clip. Every array covers the T frames that the motion and the truth share.

    key: the clip.
    motion, truth: (T, D) in the layout's units.
    lips, truth_lips: (T,) ``MotionCodec.lip_aperture`` of the two, in mouth widths.
    loudness: (T,) of the clip's own sound, or None when the data set holds no sound.
    speech: slice of the frames from the first to the last audible sound of every voice involved.
    statistics: of the training set; its divisor makes dimensions comparable.
    """

    key: str
    motion: np.ndarray
    truth: np.ndarray
    lips: np.ndarray
    truth_lips: np.ndarray
    loudness: np.ndarray | None
    speech: slice
    statistics: MotionStatistics

    @property
    def fps(self) -> int:
        return self.statistics.layout.fps

    def live(self, motion: np.ndarray) -> np.ndarray:
        """(T, D) ``motion`` in training standard deviations, without the dead dimensions: (T, D')."""
        statistics = self.statistics
        alive = [i for i, name in enumerate(statistics.layout.names) if name not in statistics.dead]
        return statistics.normalize(np.asarray(motion, np.float64))[:, alive]
