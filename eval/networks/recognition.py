"""Networks that know a face again: aligned faces to embeddings. They run in runtimes of their own, not in PyTorch."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from moda.errors import UserError
from moda.face.landmarker import Face

# MediaPipe's landmarks, named from the image: corners of the left eye, of the right eye, nose, corners of the mouth
LEFT_EYE, RIGHT_EYE, NOSE_TIP, NOSE_BASE, MOUTH = (33, 133), (362, 263), 1, 2, (61, 291)


class ArcFace:
    """ArcFace (Deng et al., 2019) as InsightFace publishes it: an ONNX file, RGB faces of 112 pixels to (B, 512).

    Cosines of its embeddings are what papers call CSIM or identity similarity.
    """

    title, file = "ArcFace", "w600k_r50.onnx"
    cosine = True
    side = 112
    # where eyes, tip of the nose and corners of the mouth lie; InsightFace's alignment
    template = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])  # fmt: skip

    def __init__(self, session: Any):
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "ArcFace":
        """Raises UserError where the file is no such network or onnxruntime is missing."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"reading {path} needs onnxruntime; run pip install onnxruntime") from error
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no one class for what a foreign file does to it
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path} cannot be read as {cls.title} ({reason}); give {cls.file}") from error
        shapes = [list(port.shape)[1:] for port in (*session.get_inputs(), *session.get_outputs())]
        if shapes != [[3, cls.side, cls.side], [512]]:
            raise UserError(f"{path} is not {cls.title}: its shapes are {shapes}; give {cls.file}")
        return cls(session)

    @staticmethod
    def points(landmarks: np.ndarray) -> np.ndarray:
        """(478, 2) to the five of ``template``."""
        eyes = [landmarks[list(eye)].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
        return np.stack([*eyes, landmarks[NOSE_TIP], *landmarks[list(MOUTH)]])

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """uint8 RGB (B, 112, 112, 3) to (B, 512) float32."""
        inputs = (faces.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
        return np.asarray(self._session.run(None, {self._input: inputs})[0], np.float32)


class DlibFaces:
    """The recognition network of dlib (King, 2017): RGB faces of 150 pixels to (B, 128).

    Trained for distances: below 0.6 two pictures are taken for one person's.
    """

    title, file = "dlib's face recognition", "dlib_face_recognition_resnet_model_v1.dat"
    cosine = False
    side = 150
    # corners of the eyes and base of the nose as dlib aligns faces, with a quarter of the picture around them
    template = (0.25 + np.array([
        (0.1205750620789, 0.2137274526848), (0.3340850613712, 0.2290642403242), (0.6460604764104, 0.2289674387677),
        (0.8595674595992, 0.2134981538014), (0.4901123135679, 0.6277975316475),
    ])) / 1.5 * 150  # fmt: skip

    def __init__(self, model: Any):
        self._model = model

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "DlibFaces":
        """Raises UserError where the file is no such network or dlib is missing."""
        try:
            import dlib
        except ImportError as error:
            raise UserError(f"reading {path} needs dlib; run pip install dlib-bin") from error
        try:
            return cls(dlib.face_recognition_model_v1(str(path)))  # pyright: ignore[reportAttributeAccessIssue]
        except RuntimeError as error:
            raise UserError(f"{path} cannot be read as {cls.title}; give {cls.file}") from error

    @staticmethod
    def points(landmarks: np.ndarray) -> np.ndarray:
        """(478, 2) to the five of ``template``."""
        return landmarks[[*LEFT_EYE, *RIGHT_EYE, NOSE_BASE]]

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """uint8 RGB (B, 150, 150, 3) to (B, 128) float32."""
        found = [self._model.compute_face_descriptor(np.ascontiguousarray(face)) for face in faces]
        return np.array([list(vector) for vector in found], np.float32)


Recognition = ArcFace | DlibFaces


def aligned(rgb: np.ndarray, face: Face, network: Recognition | type[Recognition]) -> np.ndarray:
    """The face of uint8 RGB (H, W, 3) as the network wants it, uint8 (side, side, 3): turned, scaled and moved."""
    matrix = similarity(network.points(face.landmarks[:, :2].astype(np.float64)), network.template)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # warping alone would skip pixels
        rgb = cv2.GaussianBlur(rgb, (0, 0), max(0.5 / scale - 0.5, 1e-3))
    return cv2.warpAffine(rgb, matrix, (network.side, network.side))


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift (2, 3) that brings ``points`` (N, 2) nearest to ``target``, by least squares."""
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (points, target))
    centred = z - z.mean()
    a = (centred.conj() @ (w - w.mean())) / max((centred.conj() @ centred).real, 1e-9)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
