"""How driving motion is put on a portrait: absolute or relative, in all of the face or a part of it. NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from moda.codec.liveportrait.keypoints import KEYPOINTS, LAYOUT, FaceMotion
from moda.errors import UserError

MODES = ("absolute", "relative")
REGIONS = ("all", "exp", "pose", "lip", "eyes")
LIP_CLOSED = 0.03  # lip ratio from which a portrait's mouth counts as open


def _published() -> np.ndarray:
    """(21, 3) bool: what absolute driving takes from the driving expression; the rest stays the portrait's."""
    mask = np.zeros((KEYPOINTS, 3), bool)
    mask[[1, 2, 6, *range(11, 21)]] = True
    mask[[3, 4], 1] = True
    mask[[5, 8], 2] = True
    mask[9, 1:] = True
    return mask


def _subset(name: str) -> np.ndarray:
    return np.isin(np.arange(3 * KEYPOINTS), LAYOUT.subsets[name]).reshape(KEYPOINTS, 3)


PUBLISHED = _published()
PARTS = {"lip": _subset("lips"), "eyes": _subset("eyes"), "pose": np.zeros((KEYPOINTS, 3), bool)}


@dataclass(frozen=True)
class Driving:
    """What is done with driving motion on its way to the renderer.

    mode: "relative" adds the change since ``Portrait.start`` to the portrait's own pose, expression and scale;
        "absolute" puts the driving pose and 45 of the 63 offsets in place of the portrait's and keeps its
        scale, as published audio-driven models do.
    region: what is driven: all; exp, the expression; pose, rotation and translation; lip; eyes.
    stitching: correct the keypoints so that the shoulders and what lies around the face stay in place.
    normalize_lip: close the mouth of a portrait that opens it, before it is driven.
    eye_ratio, lip_ratio: retargeting: how far the eyes or lips are open, height over width as measured by
        ``crop.eye_ratios`` and ``crop.lip_ratio``; None leaves that to the motion.
    multiplier: of how far the keypoints go from the portrait's.
    """

    mode: str = "relative"
    region: str = "all"
    stitching: bool = True
    normalize_lip: bool = False
    eye_ratio: float | None = None
    lip_ratio: float | None = None
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("region", REGIONS)):
            if getattr(self, name) not in known:
                raise UserError(f"driving.{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        for name in ("eye_ratio", "lip_ratio"):
            if not 0 <= (getattr(self, name) or 0) <= 2:
                raise UserError(f"driving.{name} is {getattr(self, name)}; it is a height over a width: 0 to about 0.8")
        if not 0 <= self.multiplier < float("inf"):
            raise UserError(f"driving.multiplier is {self.multiplier}; it must be 0 or more, 1 for the motion as it is")
        if self.normalize_lip and self.lip_ratio is not None:
            raise UserError(
                "driving.normalize_lip does nothing beside driving.lip_ratio, which sets the lips; drop one"
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Driving":
        """From settings by name, as a configuration holds them; UserError for a name that is none."""
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in settings if name not in known]:
            raise UserError(f"there is no setting driving.{unknown[0]}; driving has {', '.join(known)}")
        return cls(**settings)

    def compose(self, source: FaceMotion, motion: FaceMotion, start: FaceMotion) -> FaceMotion:
        """The motion (T frames) that the portrait makes.

        source: the portrait's own; start: what ``motion`` is relative to; both of one frame. With
        ``motion`` equal to ``start`` relative driving gives ``source``.
        """
        if self.mode == "absolute":
            driven = replace(motion, scale=np.broadcast_to(source.scale, motion.scale.shape))
        else:
            driven = FaceMotion(
                source.expression + (motion.expression - start.expression),
                source.scale * (motion.scale / start.scale),
                source.translation + (motion.translation - start.translation),
                motion.rotation @ start.rotation.swapaxes(1, 2) @ source.rotation,
            )
        moves = self.region in ("all", "pose")
        return FaceMotion(
            np.where(self._offsets, driven.expression, source.expression),
            driven.scale if self.region == "all" else np.broadcast_to(source.scale, driven.scale.shape),
            driven.translation if moves else np.broadcast_to(source.translation, driven.translation.shape),
            driven.rotation if moves else np.broadcast_to(source.rotation, driven.rotation.shape),
        )

    @property
    def unshown(self) -> tuple[str, ...]:
        """Which signals of ``moda.motion.controls`` do not reach the picture."""
        whole = self.region == "all"
        shown = {
            "pose": whole or self.region == "pose",
            "gaze": whole or self.region in ("exp", "eyes"),
            "distance": whole and self.mode == "relative",
        }
        return tuple(name for name, seen in shown.items() if not seen)

    @property
    def _offsets(self) -> np.ndarray:
        """(21, 3) bool: the offsets that the motion drives."""
        if self.region in PARTS:
            return PARTS[self.region]
        return PUBLISHED if self.mode == "absolute" else np.ones_like(PUBLISHED)
