"""Faces in an image: 478 landmarks and 52 blendshapes, by the three networks of MediaPipe's face landmarker.

They are run one after the other on one thread, without MediaPipe, whose graph takes a sixth to a third of its time.
The numbers here are those of the graph (``face_landmarks_detector_graph.cc``, ``face_blendshapes_graph.cc``;
Apache-2.0), and landmarks agree with its own to a twentieth of a pixel.
"""

import threading
import zipfile
from dataclasses import dataclass

import cv2
import numpy as np

from moda.face.blazeface import BlazeFace, Region
from moda.face.lite import LiteNetwork
from moda.motion.layout import ARKIT_BLENDSHAPES
from moda.weights import find

SIDE = 256
# the landmarks that the blendshapes are read off
READ = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155,
    157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269,
    270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332,
    334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397,
    398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])  # fmt: skip
assert ARKIT_BLENDSHAPES[-1] == "tongueOut"  # the others are what the network gives, in its order


@dataclass(frozen=True)
class Face:
    """One face found in an image.

    landmarks: (478, 3) float32, x and y in pixels (+y down), z on the scale of x (smaller is nearer).
    blendshapes: (52,) float32 in [0, 1], in the order of ``ARKIT_BLENDSHAPES``; tongueOut is 0.
    box: (x0, y0, x1, y1) in pixels around the landmarks.
    """

    landmarks: np.ndarray
    blendshapes: np.ndarray
    box: tuple[float, float, float, float]


class FaceLandmarker:
    """Finds up to ``max_faces`` faces in single images; every call stands on its own, and one runs at a time.

    A face is sought in every frame anew. Where it is taken from the frame before instead, a fifth of the time is
    saved, but other blendshapes come out (by up to 0.2) than those of a single picture, which they are compared with.
    """

    def __init__(self, max_faces: int = 3, min_confidence: float = 0.5):
        self.max_faces = max_faces
        self._least = float(np.log(min_confidence / (1 - min_confidence)))
        with zipfile.ZipFile(find("face_landmarker")) as bundle:
            self._find = BlazeFace(bundle.read("face_detector.tflite"), min_confidence)
            self._landmarks = LiteNetwork(bundle.read("face_landmarks_detector.tflite"))
            self._blendshapes = LiteNetwork(bundle.read("face_blendshapes.tflite"))
        self._lock = threading.Lock()

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Faces in a uint8 RGB image (H, W, 3), largest first; an empty list where there is none."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"expected a uint8 RGB image (H, W, 3), got {rgb.dtype} {rgb.shape}")
        rgb = np.ascontiguousarray(rgb)
        with self._lock:
            measured = [self._measure(rgb, region) for region in self._find(rgb, self.max_faces)]
        return sorted((face for face in measured if face is not None), key=_area, reverse=True)

    def _measure(self, rgb: np.ndarray, region: Region) -> Face | None:
        """The face in ``region``; None where the network sees none."""
        cut = region.cut(rgb, SIDE, cv2.BORDER_REPLICATE)
        np.divide(cut, np.float32(255), out=self._landmarks.input[0])
        values, presence, _ = self._landmarks()
        if presence.item() < self._least:
            return None
        points = values.reshape(478, 3)
        matrix = region.matrix(SIDE)
        flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        landmarks = np.column_stack([flat, points[:, 2] * (region.side / SIDE)]).astype(np.float32)
        self._blendshapes.input[0] = landmarks[READ, :2]
        (scores,) = self._blendshapes()  # (52,), the first of which is no shape
        blendshapes = np.append(scores[1:], np.float32(0))
        (x0, y0), (x1, y1) = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        return Face(landmarks, blendshapes, (float(x0), float(y0), float(x1), float(y1)))


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
