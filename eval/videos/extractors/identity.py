"""Is it still the same person? Faces of a video against the first face of the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from moda.eval.metrics.base import Score, mean_score
from moda.eval.networks.recognition import Recognition, aligned
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.extractors.sampled_faces import FRAMES, SampledFaces
from moda.eval.videos.measure import Measured
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.view import View
from moda.face.landmarker import FaceLandmarker

VERSION = 1
# names of its column: the published ArcFace's, another's, dlib's
CSIM, OWN_COSINE, DISTANCE = "CSIM", "cosine (own ArcFace)", "identity distance (dlib)"


@dataclass(frozen=True)
class IdentityExtractor:
    """{"embeddings": (n, D)} of the frames, of at most 16 evenly spaced ones, that show a face.

    label: of its column, one of ``CSIM``, ``OWN_COSINE`` and ``DISTANCE``.
    """

    network: Recognition
    weights_sha256: str
    label: str
    landmarker: FaceLandmarker = field(default_factory=FaceLandmarker)
    name: str = "identity"
    needs_sound: bool = False

    def identity(self) -> dict[str, Any]:
        return {
            "version": VERSION, "label": self.label, "network": type(self.network).__name__, "frames": FRAMES,
            "weights": self.weights_sha256,
        }  # fmt: skip

    def begin(self, view: View) -> "_Faces":
        return _Faces(
            self.network, SampledFaces(self.landmarker, view.num_frames, partial(aligned, network=self.network))
        )


@dataclass
class _Faces:
    network: Recognition
    faces: SampledFaces

    def add(self, frames: np.ndarray) -> None:
        self.faces.add(frames)

    def finish(self) -> Arrays:
        return {"embeddings": self.network.embed(self.faces.finish())}


def identity_score(clips: Sequence[Measured], truth: Mapping[str, Measured], label: str, protocol: Protocol) -> Score:
    """Mean over the frames of a clip of their likeness to the first face of the truth; the mean over clips.

    Without any truth, to the clip's own first face: whether the person stays who it was.
    """
    per_clip = {}
    for clip in clips:
        first = truth.get(clip.key) if truth else clip
        ours, theirs = clip.get("identity"), first.get("identity") if first else None
        if ours is not None and theirs is not None:
            faces = ours["embeddings"] if truth else ours["embeddings"][1:]  # the first is like itself
            if len(faces):
                per_clip[clip.key] = float(likeness(faces, theirs["embeddings"][0], label != DISTANCE).mean())
    return mean_score(per_clip, seed=protocol.seed, resamples=protocol.resamples)


def likeness(embeddings: np.ndarray, anchor: np.ndarray, cosine: bool) -> np.ndarray:
    """(n, D) and (D,) to (n,): cosines, or else distances."""
    ours, other = embeddings.astype(np.float64), anchor.astype(np.float64)
    if not cosine:
        return np.linalg.norm(ours - other, axis=1)
    return ours @ other / np.maximum(np.linalg.norm(ours, axis=1) * np.linalg.norm(other), 1e-12)
