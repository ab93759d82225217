"""What is measured of the face at the looks of a video, while its whole frames are at hand."""

from dataclasses import dataclass, field

import numpy as np

from moda.data_prep.camera import CameraMotion
from moda.data_prep.emotion import Emotion, emotion_of
from moda.data_prep.identity import spread
from moda.data_prep.networks import Networks
from moda.data_prep.occlusion import occlusion, turned
from moda.data_prep.select import Span
from moda.data_prep.sharpness import sharpness
from moda.data_prep.track import Seen

EMOTION_EVERY, IDENTITY_EVERY = 25, 100  # frames


@dataclass
class Look:
    """Of one face at one frame. camera: shift of the background since the look before, in sizes of the face."""

    sharpness: float
    camera: float
    turned: np.ndarray | None
    emotion: np.ndarray | None = None
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class Judged:
    """What the looks of a clip say of it. values: numbers that are known. apart: distance of its faces."""

    values: dict[str, float]
    emotion: Emotion | None
    embedding: np.ndarray | None
    apart: float


@dataclass
class Looks:
    """Measures looks of the followed face, and keeps them until their clip is complete."""

    networks: Networks
    every: int
    _camera: CameraMotion = field(default_factory=CameraMotion)
    _looks: dict[int, Look] = field(default_factory=dict)

    def cut(self) -> None:
        self._camera.reset()

    def add(self, number: int, frame: np.ndarray, seen: Seen) -> None:
        look = Look(sharpness(frame, seen), self._camera.add(frame, seen.box), turned(frame, seen))
        if self.networks.emotion and self._is_due("emotion", EMOTION_EVERY, number):
            look.emotion = self.networks.emotion.probabilities(frame, seen.box)
        if self.networks.identity and seen.landmarks is not None and self._is_due("embedding", IDENTITY_EVERY, number):
            look.embedding = self.networks.identity.embed(frame, seen.landmarks)
        self._looks[number] = look

    def _is_due(self, kind: str, every: int, number: int) -> bool:
        return not any(getattr(look, kind) is not None for at, look in self._looks.items() if number - at < every)

    def drop(self, before: int) -> None:
        for number in [number for number in self._looks if number < before]:
            del self._looks[number]

    def judge(self, span: Span, fps: int) -> Judged:
        """What is known of the looks of ``span``."""
        looks = [self._looks[at] for at in span.at if at in self._looks]
        embeddings = [look.embedding for look in looks if look.embedding is not None]
        per_second = fps / self.every
        values = {
            "sharpness": _median([look.sharpness for look in looks]),
            "camera_motion": _median([look.camera for look in looks]) * per_second,
            "occlusion": occlusion([look.turned for look in looks if look.turned is not None]),
        }
        return Judged(
            {name: round(value, 4) for name, value in values.items() if np.isfinite(value)},
            emotion_of([look.emotion for look in looks if look.emotion is not None]),
            np.mean(embeddings, axis=0) if embeddings else None,
            spread(embeddings),
        )


def _median(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.median(finite)) if finite else float("nan")
