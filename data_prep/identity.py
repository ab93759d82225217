"""Whose face it is: cost about 40 ms for each four seconds of video on a CPU core.

By ArcFace where its file is on this machine, else by dlib's face recognition.
"""

from dataclasses import dataclass

import numpy as np

from moda.eval.networks.recognition import ArcFace, DlibFaces, Recognition, aligned
from moda.weights import find
from moda.weights.locate import locate

# distance of embeddings above which two pictures are taken for two people's. dlib: its author's 0.6, for pictures
# taken independently; within one clip light and camera are the same
APART = {"dlib": 0.6, "arcface": 1.2}


@dataclass(frozen=True)
class FaceRecognizer:
    """Embeddings whose Euclidean distance tells people apart; those of ArcFace are scaled to length 1."""

    name: str
    network: Recognition

    @classmethod
    def find(cls) -> "FaceRecognizer":
        """Raises UserError where neither network is on this machine."""
        if locate("arcface"):
            return cls("arcface", ArcFace.from_pretrained(find("arcface")))
        return cls("dlib", DlibFaces.from_pretrained(find("dlib_faces")))

    @property
    def apart(self) -> float:
        return APART[self.name]

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(D,) float32 of the face with ``landmarks`` (478, 2) in uint8 RGB ``frame``."""
        face = aligned(frame, _Landmarks(landmarks), self.network)  # type: ignore[arg-type]
        vector = self.network.embed(face[None])[0]
        return vector / max(float(np.linalg.norm(vector)), 1e-9) if self.network.cosine else vector


@dataclass(frozen=True)
class _Landmarks:
    """As much of a ``Face`` as alignment looks at."""

    landmarks: np.ndarray


def spread(embeddings: list[np.ndarray]) -> float:
    """Largest distance of two embeddings of one clip; 0 for fewer than two."""
    if len(embeddings) < 2:
        return 0.0
    stacked = np.stack(embeddings)
    return float(np.linalg.norm(stacked[:, None] - stacked[None], axis=2).max())
