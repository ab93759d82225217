"""A clip measured frame by frame: one face is followed, and what a frame hides is filled in at the end."""

from collections.abc import Callable

import numpy as np

from moda.codec.base import EncodedClip
from moda.codec.liveportrait.crop import eye_ratios, lip_ratio, shrink
from moda.codec.liveportrait.keypoints import motion_of
from moda.errors import UserError
from moda.face.follow import fill_gaps, follow, require_found
from moda.face.landmarker import Face, FaceLandmarker

AT_ONCE = 8  # frames through the network


class Measurement:
    """``LivePortraitCodec.encode`` for frames that come one by one.

    heads_of: uint8 RGB (B, 256, 256, 3) to the raw heads by name, each (B, width).
    """

    def __init__(self, landmarker: FaceLandmarker, heads_of: Callable[[np.ndarray], dict[str, np.ndarray]]):
        self.landmarker, self.heads_of = landmarker, heads_of
        self._found: list[bool] = []
        self._openings: list[np.ndarray] = []
        self._waiting: list[np.ndarray] = []
        self._heads: list[dict[str, np.ndarray]] = []
        self._last: Face | None = None

    def add(self, frame: np.ndarray) -> None:
        """Measure a square uint8 RGB frame (S, S, 3), now or with some that follow."""
        height, width = frame.shape[:2]
        if height != width:
            raise UserError(f"a frame is {width} x {height} pixels; crop the face to a square first")
        face = follow(self.landmarker.detect(frame), self._last)
        self._found.append(face is not None)
        if face is None:
            return
        self._last = face
        self._openings.append(np.array([*eye_ratios(face.landmarks), lip_ratio(face.landmarks)]))
        self._waiting.append(shrink(frame))
        if len(self._waiting) == AT_ONCE:
            self._measure()

    def finish(self) -> EncodedClip:
        """Raises UserError for an empty clip or when fewer than half of the frames show a face."""
        if self._waiting:
            self._measure()
        found = require_found(self._found)
        measured = {name: np.concatenate([heads[name] for heads in self._heads]) for name in self._heads[0]}
        identity = np.median(measured["kp"], axis=0).astype(np.float32)
        raw = {name: fill_gaps(values, found) for name, values in measured.items()}
        openings = fill_gaps(np.stack(self._openings), found)
        raw |= {"eye_ratios": openings[:, :2], "lip_ratio": openings[:, 2:]}
        return EncodedClip(motion_of(raw), identity, found, raw)

    def _measure(self) -> None:
        self._heads.append(self.heads_of(np.stack(self._waiting)))
        self._waiting = []
