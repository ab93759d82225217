"""Which emotion a face shows in a video, frame by evenly spaced frame."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch

from moda.eval.networks import MiniXception
from moda.eval.networks.emotion import SIDE
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.extractors.sampled_faces import FRAMES, SampledFaces
from moda.eval.videos.reading.view import View
from moda.face.landmarker import Face, FaceLandmarker
from moda.files import sha256_of
from moda.weights import find

VERSION = 1


class EmotionExtractor:
    """{"probabilities": (n, 7)} of the frames, of at most 16 evenly spaced ones, that show a face."""

    name = "emotion"
    needs_sound = False

    @cached_property
    def network(self) -> MiniXception:
        return MiniXception.from_pretrained(find("mini_xception"))

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        return FaceLandmarker()

    def identity(self) -> dict[str, Any]:
        weights = {name: sha256_of(find(name)) for name in ("mini_xception", "face_landmarker")}
        return {"version": VERSION, "frames": FRAMES, "weights": weights}

    def begin(self, view: View) -> "_Emotions":
        return _Emotions(self.network, SampledFaces(self.landmarker, view.num_frames, _cut))


@dataclass
class _Emotions:
    network: MiniXception
    faces: SampledFaces

    def add(self, frames: np.ndarray) -> None:
        self.faces.add(frames)

    def finish(self) -> Arrays:
        faces = torch.from_numpy(self.faces.finish()[:, None])
        with torch.no_grad():
            return {"probabilities": self.network(faces)["probabilities"].numpy()}


def _cut(frame: np.ndarray, face: Face) -> np.ndarray:
    return grey_face(frame, face.box)


def grey_face(rgb: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The square about a box (x0, y0, x1, y1) of uint8 RGB (H, W, 3), as uint8 (64, 64); black beyond the frame."""
    x0, y0, x1, y1 = box
    scale = SIDE / max(x1 - x0, y1 - y0, 1.0)
    across, down = SIDE / 2 - scale * (x0 + x1) / 2, SIDE / 2 - scale * (y0 + y1) / 2
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if scale < 1:  # warping alone would skip pixels
        grey = cv2.GaussianBlur(grey, (0, 0), max(0.5 / scale - 0.5, 1e-3))
    return cv2.warpAffine(grey, np.array([[scale, 0, across], [0, scale, down]]), (SIDE, SIDE))
