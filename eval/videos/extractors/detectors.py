"""Where faces are in a frame: the detector of the original sync pipeline, or the packaged one in its place."""

from functools import cached_property
from typing import Any, Protocol

import numpy as np

from moda.eval.networks import S3FD
from moda.face.landmarker import FaceLandmarker
from moda.files import sha256_of
from moda.weights import find


class FaceDetector(Protocol):
    def identity(self) -> dict[str, Any]: ...

    def detect(self, rgb: np.ndarray, threshold: float, scale: float) -> np.ndarray:
        """Faces of a uint8 RGB frame (H, W, 3), best first: (n, 5) x0, y0, x1, y1 in its pixels and score."""
        ...


class S3FDDetector:
    """The published detector with its own weights."""

    def __init__(self, network: S3FD, weights_sha256: str):
        self.network, self.weights_sha256 = network, weights_sha256

    def identity(self) -> dict[str, Any]:
        return {"name": "S3FD", "weights": self.weights_sha256}

    def detect(self, rgb: np.ndarray, threshold: float, scale: float) -> np.ndarray:
        return self.network.detect(np.ascontiguousarray(rgb[:, :, ::-1]), threshold=threshold, scales=(scale,))


class LandmarkDetector:
    """A stand-in: MediaPipe's landmarks, boxed from over the brows to the chin as S3FD boxes faces.

    Landmarks end at the hair line; S3FD's boxes are narrower than they are high and end a little below
    the chin. Threshold and scale of S3FD mean nothing to it.
    """

    TALLER = 0.05  # of the face's height, added below; chosen, not measured against S3FD
    VERSION = 1

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        return FaceLandmarker()

    def identity(self) -> dict[str, Any]:
        return {"name": "MediaPipe landmarks", "version": self.VERSION, "weights": sha256_of(find("face_landmarker"))}

    def detect(self, rgb: np.ndarray, threshold: float, scale: float) -> np.ndarray:
        boxes = [(*face.box, 1.0) for face in self.landmarker.detect(np.ascontiguousarray(rgb))]
        found = np.array(boxes, np.float64).reshape(-1, 5)
        found[:, 3] += self.TALLER * (found[:, 3] - found[:, 1])
        return found
