"""Signals of a motion that a user may ask for: where the head points, where the eyes look, how far away it is.

A control is a few directions in motion space; its value is the motion's component along them. So it can be read
off any motion of a layout, the training clips' own included, and what was asked can be compared with what came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from moda.checks import names_of
from moda.errors import UserError
from moda.motion.layout import MotionLayout
from moda.motion.statistics import DEAD_STD, MotionStatistics

EYE_DEGREES = 35.0  # turn of an eye at a full eyeLook curve
ROUNDS = 60  # each takes away at least a quarter of what is missing, where it can be reached
EYE_UNIT = 1e-3  # LivePortrait: shift of the eyes' keypoints for one unit of its direction sliders


@dataclass(frozen=True)
class Control:
    """columns: what its values are called, in a file of controls and in errors. unit: of all of them."""

    columns: tuple[str, ...]
    unit: str


CONTROLS: Mapping[str, Control] = MappingProxyType({
    "pose": Control(("pitch", "yaw", "roll"), "degrees"),
    "gaze": Control(("gaze_pitch", "gaze_yaw"), "degrees"),
    "distance": Control(("distance",), "1 is the training set's mean"),
})  # fmt: skip


def channels_of(names: Sequence[str]) -> dict[str, int]:
    """Number of values of each control. Raises UserError for a name that is unknown or comes twice."""
    names = names_of("model.controls", names)
    for name in names:
        if name not in CONTROLS:
            raise UserError(f"unknown control {name!r}; known: {', '.join(CONTROLS)}")
    if len(set(names)) < len(names):
        raise UserError(f"model.controls names one twice: {', '.join(names)}")
    return {name: len(CONTROLS[name].columns) for name in names}


class ControlSpace:
    """Some controls as channels for a network, in the units that training sees.

    names: in the channels' order, one of ``CONTROLS`` each. Raises UserError for a control whose dimensions do
    not move in the training set: nothing could learn to obey it.
    """

    def __init__(self, names: Sequence[str], statistics: MotionStatistics):
        self.channels = channels_of(names)
        self.statistics = statistics
        self._directions = {name: directions(name, statistics.layout) for name in names}  # (k, D)
        self._curves = {name: _curves(rows, statistics.layout) for name, rows in self._directions.items()}  # (D,)
        self._spread = {name: np.sqrt(rows**2 @ statistics.std**2) for name, rows in self._directions.items()}  # (k,)
        for name, spread in self._spread.items():
            if (spread < DEAD_STD).all():
                raise UserError(f"model.controls: nothing of {name} moves in the training set; leave it out")

    @property
    def matrix(self) -> np.ndarray:
        """(D, K) float32 that takes normalised motion to the channels: zero mean, about unit variance."""
        std = np.where(self.statistics.alive, self.statistics.std, 0.0)
        rows = [rows * std / _divisor(self._spread[name])[:, None] for name, rows in self._directions.items()]
        return np.concatenate(rows).T.astype(np.float32)

    def measure(self, name: str, motion: np.ndarray) -> np.ndarray:
        """``measure`` with this space's statistics."""
        return measure(name, motion, self.statistics)

    def encode(self, asked: Mapping[str, np.ndarray], frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (T, k) in the user's units, for some of the controls, to (T, K) float32 and which are given, (G,) bool.

        Raises UserError for a control that is not of this space, and for values that are no numbers or have
        another shape.
        """
        for name in asked:
            if name not in self.channels:
                has = f"it has {', '.join(self.channels)}" if self.channels else "it has none"
                raise UserError(f"the model was trained without the control {name} ({has}); see model.controls")
        parts = []
        for name, count in self.channels.items():
            if name not in asked:
                parts.append(np.zeros((frames, count), np.float32))
                continue
            values = np.asarray(asked[name], np.float64)
            if values.shape != (frames, count) or not np.isfinite(values).all():
                raise UserError(f"control {name} has shape {values.shape}, or holds NaN; expected {(frames, count)}")
            most = np.abs(values).max(initial=0)
            if self._curves[name].any() and most > EYE_DEGREES + 0.01:
                raise UserError(f"control {name} asks for {most:g} degrees; eyes turn by {EYE_DEGREES:g} at most")
            parts.append((self._from_user(name, values) - self._centre(name)) / _divisor(self._spread[name]))
        given = np.array([name in asked for name in self.channels], bool)
        return np.concatenate(parts, axis=1).astype(np.float32), given

    def impose(self, motion: np.ndarray, asked: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n, D) motion in the layout's units, changed little so that it has the values (n, k) asked for.

        Curves stay within 0 and 1: what a face cannot do would be lost when it is rendered. So eyes turn by
        ``EYE_DEGREES`` at most.
        """
        motion = np.asarray(motion, np.float64)
        for name, values in asked.items():
            wanted = self._from_user(name, np.asarray(values, np.float64))
            motion = _reach(motion, self._directions[name], wanted, self._curves[name])
        return motion.astype(np.float32)

    def _centre(self, name: str) -> np.ndarray:
        return self._directions[name] @ self.statistics.mean

    def _from_user(self, name: str, values: np.ndarray) -> np.ndarray:
        if name != "distance":
            return values
        if (values <= 0).any():
            raise UserError("control distance must be above 0; 1 is the training set's mean, 2 is twice as far")
        return self._centre(name) / values  # what is twice as far looks half as large


def measure(name: str, motion: np.ndarray, statistics: MotionStatistics) -> np.ndarray:
    """(T, D) motion in the layout's units to a control's values (T, k) in the user's, as a face will show it."""
    rows = directions(name, statistics.layout)
    values = _within(np.asarray(motion, np.float64), _curves(rows, statistics.layout)) @ rows.T
    return rows @ statistics.mean / values if name == "distance" else values


def directions(name: str, layout: MotionLayout) -> np.ndarray:
    """(k, D): the components of a motion that make up a control, in its unit; of distance, the scale.

    Signs are those of the head's rotation: positive pitch looks down, positive yaw to the left of the image.
    """
    if name == "gaze":
        return _gaze(layout)
    group = layout.groups["rotation" if name == "pose" else "scale"]
    return np.eye(layout.dim)[group]


def _gaze(layout: MotionLayout) -> np.ndarray:
    """(2, D) pitch and yaw of the eyes relative to the head, the mean of both eyes."""
    down, left = np.zeros(layout.dim), np.zeros(layout.dim)
    if layout.name == "head59":
        for side in ("Left", "Right"):
            down[layout.index(f"eyeLookDown{side}")] = EYE_DEGREES / 2
            down[layout.index(f"eyeLookUp{side}")] = -EYE_DEGREES / 2
        for curve, sign in (("InLeft", 1), ("OutLeft", -1), ("OutRight", 1), ("InRight", -1)):
            left[layout.index(f"eyeLook{curve}")] = sign * EYE_DEGREES / 2
    else:
        for keypoint in (11, 15):  # that LivePortrait's own sliders of the eyes' direction move
            down[layout.index(f"expression{keypoint}Y")] = 0.5 / EYE_UNIT
            left[layout.index(f"expression{keypoint}X")] = -0.5 / EYE_UNIT
    return np.stack([down, left])


def _curves(rows: np.ndarray, layout: MotionLayout) -> np.ndarray:
    """(D,) bool: the dimensions along directions (k, D) that are curves from 0 to 1, as the head's expression is."""
    curves = np.zeros(layout.dim, bool)
    curves[layout.groups["expression"]] = layout.name == "head59"
    return curves & (rows != 0).any(0)


def _within(motion: np.ndarray, curves: np.ndarray) -> np.ndarray:
    return np.where(curves, motion.clip(0, 1), motion)


def _reach(motion: np.ndarray, rows: np.ndarray, wanted: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Alternating projections onto what has the values ``wanted`` (n, k) and onto what curves can be."""
    back = np.linalg.pinv(rows).T
    for _ in range(ROUNDS if curves.any() else 1):
        motion = _within(motion + (wanted - motion @ rows.T) @ back, curves)
    return motion


def _divisor(spread: np.ndarray) -> np.ndarray:
    return np.where(spread < DEAD_STD, 1.0, spread)
