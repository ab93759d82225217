"""Which emotion a face shows, and how strongly: cost about 3 ms for each second of video."""

from dataclasses import dataclass

import numpy as np
import torch

from moda.eval.networks.emotion import EMOTIONS as SEEN
from moda.eval.networks.emotion import MiniXception
from moda.eval.videos.extractors.emotion import grey_face
from moda.weights import find

# of the network to those of MoDA, whose "contempt" it does not know
NAMES = {"angry": "anger", "disgust": "disgust", "fear": "fear", "happy": "happiness", "sad": "sadness",
         "surprise": "surprise", "neutral": "neutral"}  # fmt: skip


@dataclass(frozen=True)
class Emotion:
    """name: of ``moda.data.schema.EMOTIONS``. probability: its mean over the looks. intensity: 1 less neutral's."""

    name: str
    probability: float
    intensity: float


class EmotionReader:
    """mini-Xception (Arriaga et al., 2017): right about two times in three, so its mean over a clip is taken."""

    def __init__(self) -> None:
        self._network = MiniXception.from_pretrained(find("mini_xception"))

    def probabilities(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        """(7,) of the face in ``box`` of uint8 RGB ``frame``."""
        face = torch.from_numpy(grey_face(frame, box))[None, None]
        with torch.inference_mode():
            return self._network(face)["probabilities"][0].numpy()


def emotion_of(looks: list[np.ndarray]) -> Emotion | None:
    """Of the probabilities (7,) at some looks; None where there are none."""
    if not looks:
        return None
    mean = np.mean(looks, axis=0)
    best = int(mean.argmax())
    return Emotion(NAMES[SEEN[best]], float(mean[best]), float(1 - mean[SEEN.index("neutral")]))
