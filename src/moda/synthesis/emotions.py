"""Expressions that colour speech: offsets on the ARKit curves, and what they do to voice and jaw."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from moda.data.schema import EMOTIONS, emotion_index
from moda.motion.layout import ARKIT_BLENDSHAPES


@dataclass(frozen=True)
class Expression:
    """curves: ARKit curve -> offset at full intensity; a name without Left or Right means both.

    jaw, tempo, pitch, loudness: factors on the size of speech movements, the speaking rate, the
    pitch and the level of the voice, at full intensity.
    """

    curves: Mapping[str, float] = field(default_factory=dict)
    jaw: float = 1.0
    tempo: float = 1.0
    pitch: float = 1.0
    loudness: float = 1.0

    def offsets(self, intensity: float) -> np.ndarray:
        """(52,) offsets at ``intensity`` in 0..1."""
        values = np.zeros(len(ARKIT_BLENDSHAPES))
        for name, value in self.curves.items():
            sides = [name] if name in ARKIT_BLENDSHAPES else [name + "Left", name + "Right"]
            for side in sides:
                values[ARKIT_BLENDSHAPES.index(side)] = intensity * value
        return values

    def factor(self, name: str, intensity: float) -> float:
        """``jaw``, ``tempo``, ``pitch`` or ``loudness`` at ``intensity`` in 0..1."""
        return 1.0 + intensity * (getattr(self, name) - 1.0)


EXPRESSIONS: Mapping[str, Expression] = MappingProxyType({
    "neutral": Expression(),
    "happiness": Expression(
        {"mouthSmile": 0.50, "mouthDimple": 0.15, "cheekSquint": 0.45, "eyeSquint": 0.25, "browOuterUp": 0.10},
        jaw=1.10, tempo=1.05, pitch=1.05, loudness=1.1,
    ),
    "sadness": Expression(
        {"mouthFrown": 0.50, "browInnerUp": 0.60, "mouthShrugLower": 0.15, "eyeLookDown": 0.15, "eyeBlink": 0.12},
        jaw=0.90, tempo=0.90, pitch=0.96, loudness=0.7,
    ),
    "anger": Expression(
        {"browDown": 0.75, "eyeSquint": 0.35, "noseSneer": 0.30, "mouthPress": 0.15, "mouthFrown": 0.20},
        jaw=1.15, tempo=1.08, pitch=1.02, loudness=1.3,
    ),
    "surprise": Expression(
        {"browInnerUp": 0.65, "browOuterUp": 0.65, "eyeWide": 0.65, "jawOpen": 0.06},
        jaw=1.15, pitch=1.06, loudness=1.1,
    ),
    "fear": Expression(
        {"browInnerUp": 0.70, "browOuterUp": 0.20, "eyeWide": 0.55, "mouthStretch": 0.30},
        jaw=0.95, tempo=1.08, pitch=1.06, loudness=0.85,
    ),
    "disgust": Expression(
        {"noseSneer": 0.65, "browDown": 0.35, "cheekSquint": 0.25, "mouthUpperUp": 0.15, "mouthFrown": 0.25},
        tempo=0.96, pitch=0.98,
    ),
    "contempt": Expression(
        {"mouthSmileLeft": 0.40, "mouthDimpleLeft": 0.40, "eyeSquint": 0.15, "browDown": 0.10},
        jaw=0.92, tempo=0.96, pitch=0.98,
    ),
})  # fmt: skip
assert set(EXPRESSIONS) == set(EMOTIONS)

# offsets that part the lips are taken back while they are closed; those that widen give way to rounding
_OPENING = [ARKIT_BLENDSHAPES.index(name) for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight")]
_WIDENING = [
    index
    for index, name in enumerate(ARKIT_BLENDSHAPES)
    if name.startswith(("mouthSmile", "mouthStretch", "mouthDimple"))
]
_ROUNDING = [ARKIT_BLENDSHAPES.index(name) for name in ("mouthFunnel", "mouthPucker")]


def express(curves: np.ndarray, closure: np.ndarray, emotion: str, intensity: float) -> np.ndarray:
    """Speech curves (T, 52) with an emotion's offsets added; ``closure`` (T,) is 1 where lips are shut."""
    emotion_index(emotion)  # an unknown name is an error that lists the known ones
    offsets = np.tile(EXPRESSIONS[emotion].offsets(intensity), (len(curves), 1))  # (T, 52)
    offsets[:, _OPENING] *= 1 - closure[:, None]
    offsets[:, _WIDENING] *= 1 - 0.7 * np.clip(curves[:, _ROUNDING].sum(axis=1), 0, 1)[:, None]
    return np.clip(curves + offsets, 0.0, 1.0)
