"""Ways of the published pipeline that ours leaves out: each can be switched on (docs/moda_paper.md)."""

from dataclasses import dataclass

import numpy as np

from moda.errors import UserError
from moda.motion.finish import amplify_lips, shift_gaze, smooth_pose
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics


@dataclass(frozen=True)
class PublishedWays:
    """What ``published`` in conf/task/dit.yaml describes; as it is by default it changes nothing.

    fresh_noise: each window starts from noise of its own; ours share it where they overlap.
    smooth_windows: a 3-frame box filter of scale, translation and rotation within each window.
    smooth_clip: the same filter again over the clip.
    drawn_null_audio: what guidance turns away from is made of random speech features, drawn whenever an
        export is loaded, and not what was learned.
    silence: seconds of silence that the clip goes on for, cut off again in the end.
    amplify_lips: see ``moda.motion.finish.amplify_lips``; the lips' rest is the last frame of the silence.
    shift_gaze: see ``moda.motion.finish.shift_gaze``.
    smooth_clip, amplify_lips and shift_gaze work on whole clips: with one of them nothing is shown before all is sampled.
    """

    fresh_noise: bool = False
    smooth_windows: bool = False
    smooth_clip: bool = False
    drawn_null_audio: bool = False
    silence: float = 0.0
    amplify_lips: bool = False
    shift_gaze: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.silence <= 60:
            raise UserError(f"published.silence={self.silence}: seconds, from 0 to 60")
        if self.silence and not self.amplify_lips:
            raise UserError("published.silence does nothing without published.amplify_lips; set it to 0")

    @property
    def whole_clip(self) -> bool:
        """Whether motion is changed once all of a clip is there."""
        return self.smooth_clip or self.amplify_lips or self.shift_gaze

    def tail(self, fps: int) -> int:
        """Frames that are sampled after the end of the clip."""
        return round(self.silence * fps)

    def require_motion(self, layout: MotionLayout) -> None:
        """UserError where motion of ``layout`` lacks what one of the ways changes."""
        if self.shift_gaze:
            shift_gaze(np.zeros((1, layout.dim), np.float32), layout)

    def finish(self, motion: np.ndarray, frames: int, statistics: MotionStatistics) -> np.ndarray:
        """The clip's ``frames`` frames (frames, D) of sampled motion (frames + tail, D)."""
        out = motion
        if self.amplify_lips:
            out = amplify_lips(out, motion[-1], statistics)
        if self.shift_gaze:
            out = shift_gaze(out, statistics.layout)
        if self.smooth_clip:
            out = smooth_pose(out, statistics.layout)
        return out[:frames].astype(np.float32)
