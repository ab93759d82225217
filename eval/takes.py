"""What a metric looks at: one row's motion for one clip, beside the truth."""

from dataclasses import dataclass

import numpy as np

from moda.motion.statistics import DEAD_STD, MotionStatistics


@dataclass(frozen=True)
class Take:
    """One motion for one clip. Every array covers the T frames that the motion and the truth share.

    key: the clip.
    motion, truth: (T, D) in the layout's units.
    lips, truth_lips: (T,) ``MotionCodec.lip_aperture`` of the two, in mouth widths.
    loudness: (T,) of the clip's own sound, or None when the data set holds no sound.
    speech: slice of the frames from the first to the last audible sound of every voice involved.
    statistics: of the training set; of videos, of the reference.
    found_lips, truth_found_lips: (T, K, 2) landmarks of the lips in distances of the eyes, NaN where no
        face was found; shape, truth_shape: (I,) of the face at rest. None where no video was looked at.
    bilabials: (n,) frames of the sound with a p, b or m; emotion, truth_emotion: (7,) mean probabilities.
        None where they were not looked for or could not be found.

    Without a truth its arrays are NaN, and what is compared with it is undefined.
    """

    key: str
    motion: np.ndarray
    truth: np.ndarray
    lips: np.ndarray
    truth_lips: np.ndarray
    loudness: np.ndarray | None
    speech: slice
    statistics: MotionStatistics
    found_lips: np.ndarray | None = None
    truth_found_lips: np.ndarray | None = None
    shape: np.ndarray | None = None
    truth_shape: np.ndarray | None = None
    bilabials: np.ndarray | None = None
    emotion: np.ndarray | None = None
    truth_emotion: np.ndarray | None = None

    @property
    def fps(self) -> int:
        return self.statistics.layout.fps

    def scaled(self, motion: np.ndarray) -> np.ndarray:
        """(T, D) ``motion`` in units of ``group_scale``, about the training mean, in float64."""
        return (np.asarray(motion, np.float64) - self.statistics.mean) / group_scale(self.statistics)


def group_scale(statistics: MotionStatistics) -> np.ndarray:
    """(D,) unit of each dimension: the root mean square of the training standard deviations of its group.

    Within a group (expression, rotation, ...) dimensions share their natural unit. Their own standard
    deviations would not do: one that hardly moves in training would outweigh all others where it does.
    """
    scale = np.ones(statistics.layout.dim)
    for group in statistics.layout.groups.values():
        size = np.sqrt(np.mean(statistics.std[group] ** 2))
        scale[group] = size if size >= DEAD_STD else 1.0
    return scale
