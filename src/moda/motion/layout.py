"""What each dimension of a motion vector is.

A layout that does not match is an error here, never a broadcast later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from moda.errors import UserError

# The 52 blendshapes of ARKit, in the alphabetical order MediaPipe reports them, with tongueOut
# (which MediaPipe does not measure) last.
ARKIT_BLENDSHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft",
    "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

POSE_NAMES = ("scale", "translationX", "translationY", "translationZ", "pitch", "yaw", "roll")


@dataclass(frozen=True)
class MotionLayout:
    """Names of the dimensions of a per-frame motion vector.

    ``groups`` are contiguous slices that cover the vector in order (expression, scale,
    translation, rotation); ``subsets`` are index tuples that cut across (lips, eyes).
    Translation is in half image widths of the crop (+x right, +y down), rotation in degrees.
    """

    name: str
    names: tuple[str, ...]
    groups: Mapping[str, slice]
    subsets: Mapping[str, tuple[int, ...]]
    fps: int = 25

    @property
    def dim(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of a dimension by name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise UserError(f"layout {self.name} has no dimension {name!r}; it has {', '.join(self.names)}") from None

    def check(self, motion: np.ndarray, where: str = "motion") -> np.ndarray:
        """Return ``motion`` if it is (..., dim) and finite, else say what is wrong with it."""
        if motion.ndim == 0 or motion.shape[-1] != self.dim:
            raise UserError(
                f"{where} has shape {tuple(motion.shape)}, but layout {self.name} has {self.dim} dimensions"
            )
        if not np.isfinite(motion).all():
            frame = int(np.argwhere(~np.isfinite(motion))[0][0])
            raise UserError(f"{where} holds NaN or infinity at frame {frame}; extract it again")
        return motion

    def __reduce__(self) -> tuple[Any, ...]:
        """Reader processes may get the layout as a pickle, which the read-only mappings refuse."""
        return _restored, (self.name, self.names, dict(self.groups), dict(self.subsets), self.fps)


def _restored(name: str, names: tuple[str, ...], groups: Any, subsets: Any, fps: int) -> MotionLayout:
    return MotionLayout(name, names, MappingProxyType(groups), MappingProxyType(subsets), fps)


def _layout(name: str, expression: tuple[str, ...], subsets: dict[str, tuple[int, ...]]) -> MotionLayout:
    count = len(expression)
    groups = {
        "expression": slice(0, count),
        "scale": slice(count, count + 1),
        "translation": slice(count + 1, count + 4),
        "rotation": slice(count + 4, count + 7),
    }
    return MotionLayout(name, expression + POSE_NAMES, MappingProxyType(groups), MappingProxyType(subsets))


def _head59() -> MotionLayout:
    def starting(*prefixes: str) -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(ARKIT_BLENDSHAPES) if name.startswith(prefixes))

    subsets = {
        "lips": starting("jaw", "mouth"),
        "eyes": starting("eye"),
        "brows": starting("brow"),
        "blink": starting("eyeBlink"),
        "jaw_open": starting("jawOpen"),
    }
    return _layout("head59", ARKIT_BLENDSHAPES, subsets)


def _liveportrait70() -> MotionLayout:
    def keypoints(*indices: int) -> tuple[int, ...]:
        return tuple(3 * k + axis for k in indices for axis in range(3))

    # Which keypoints do what: LivePortrait's region masks.
    subsets = {
        "lips": keypoints(6, 12, 14, 17, 19, 20),
        "eyes": keypoints(11, 13, 15, 16, 18),
        "brows": keypoints(1, 2),
    }
    return _layout("liveportrait70", tuple(f"expression{k}{axis}" for k in range(21) for axis in "XYZ"), subsets)


LAYOUTS: Mapping[str, MotionLayout] = MappingProxyType(
    {layout.name: layout for layout in (_head59(), _liveportrait70())}
)


def get_layout(name: str) -> MotionLayout:
    """The layout called ``name``; an unknown name lists the known ones."""
    if name not in LAYOUTS:
        raise UserError(f"unknown motion layout {name!r}; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
