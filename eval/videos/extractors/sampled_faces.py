"""Faces of a few evenly spaced frames, for networks that look at single faces."""

from collections.abc import Callable

import numpy as np

from moda.errors import UserError
from moda.face.landmarker import Face, FaceLandmarker

FRAMES = 16  # looked at in a clip


class SampledFaces:
    """Takes the frames of a clip; ``finish`` gives what ``cut`` made of the largest face of at most 16 of them."""

    def __init__(self, landmarker: FaceLandmarker, num_frames: int, cut: Callable[[np.ndarray, Face], np.ndarray]):
        self.landmarker, self.cut = landmarker, cut
        self.wanted = {int(t) for t in np.linspace(0, num_frames - 1, FRAMES)}
        self.seen = 0
        self.faces: list[np.ndarray] = []

    def add(self, frames: np.ndarray) -> None:
        """uint8 RGB (B, H, W, 3), consecutive."""
        for t, frame in enumerate(frames, self.seen):
            if t in self.wanted and (found := self.landmarker.detect(frame)):
                self.faces.append(self.cut(frame, found[0]))
        self.seen += len(frames)

    def finish(self) -> np.ndarray:
        """(n, ...); UserError where no frame shows a face."""
        if not self.faces:
            raise UserError(f"no face was found in {len(self.wanted)} evenly spaced frames")
        return np.stack(self.faces)
