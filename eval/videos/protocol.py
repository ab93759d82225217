"""Everything about an evaluation that could change a number, in one place."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import inf
from typing import Any

from moda.errors import UserError
from moda.eval.intervals import FEWEST_RESAMPLES

CODE_VERSION = 1  # raise when the same settings would give another number
CROPS = ("face", "frame")

# setting -> whether it is a whole number, the least and the most that it can be
NUMBERS: Mapping[str, tuple[bool, float, float]] = {
    "version": (True, 0, inf), "size": (True, 1, inf), "pad": (True, 1, inf),
    "margin": (False, 1, inf),  # below it the crop would cut the face
    "max_seconds": (False, 0.04, inf),  # a frame
    "sync_min_seconds": (False, 0, inf), "min_track": (True, 1, inf), "min_face": (False, 0, inf),
    "detector_threshold": (False, 0, 1), "detector_scale": (False, 0.01, 4), "sync_margin": (False, 0, inf),
    "fid_stride": (True, 1, inf), "fid_frames": (True, 0, inf), "fvd_frames": (True, 1, inf), "fvd_stride": (True, 1, inf),
    "resamples": (True, FEWEST_RESAMPLES, inf), "seed": (True, 0, inf),
}  # fmt: skip
MAY_BE_NONE = ("size", "pad")


@dataclass(frozen=True)
class Protocol:
    """What conf/protocol/*.yaml describes.

    crop: ``face`` is the square around the faces of the reference, the same box for every row; ``frame``
        the whole frame. size: side in pixels that square frames are brought to; None leaves them.
    margin: side of the crop over the size of the face. max_seconds: what comes later is not looked at.
    sync_min_seconds: clips below it have no sync score. pad: side of the grey canvas around the crop
        on which faces are detected for sync; None for no canvas.
    detector_threshold, detector_scale: least confidence of a face, and the scale of the image it is looked for in.
    min_track: detections that a face track must exceed. min_face: pixels that its mean side must exceed.
    sync_margin: of the crop around a face track, the c of the original pipeline.
    lossy: whether crops go through an XVID file and JPEG on their way to SyncNet, as there.
    fid_stride: every how many frames one is used. fid_frames: below so many frames a caution stands beside FID.
    fvd_frames, fvd_stride: length of a clip for FVD, and frames from one to the next.
    resamples, seed: of the bootstrap.
    """

    name: str
    version: int
    crop: str
    size: int | None
    sync_min_seconds: float
    pad: int | None
    min_track: int
    min_face: float
    lossy: bool
    margin: float = 1.6
    max_seconds: float = 12.0
    fps: int = 25
    detector_threshold: float = 0.9
    detector_scale: float = 0.25
    sync_margin: float = 0.4
    fid_stride: int = 1
    fid_frames: int = 10_000
    fvd_frames: int = 16
    fvd_stride: int = 16
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in NUMBERS.items():  # said now, and not when everything has been measured
            value = getattr(self, name)
            if value is not None or name not in MAY_BE_NONE:
                check_number(f"protocol.{name}", value, *kind)
        if not isinstance(self.lossy, bool):
            raise UserError(f"protocol.lossy={shown(self.lossy)}: must be true or false")
        if self.fps != 25:
            raise UserError(
                f"protocol.fps={shown(self.fps)}: SyncNet sees 25 frames a second; other rates are converted"
            )
        if self.crop not in CROPS:
            raise UserError(f"protocol.crop={shown(self.crop)}: must be one of {', '.join(CROPS)}")
        if self.crop == "face" and self.size is None:
            raise UserError("protocol.crop=face needs protocol.size, the side of the crop in pixels")
        if self.pad is not None and (self.size is None or self.pad < self.size):
            raise UserError(f"protocol.pad={self.pad} must be at least protocol.size={self.size}")

    @property
    def max_frames(self) -> int:
        return round(self.max_seconds * self.fps)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "code_version": CODE_VERSION}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every setting: protocols of one fingerprint measure alike."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def check_number(name: str, value: Any, whole: bool, least: float, most: float = inf) -> None:
    """Raise UserError unless ``value`` is a finite number, or a whole one, from ``least`` to ``most``."""
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most or value == inf:
        span = f"from {least:g}" + ("" if most == inf else f" to {most:g}")
        raise UserError(f"{name}={shown(value)}: must be a {'whole number' if whole else 'finite number'} {span}")


def shown(value: Any) -> str:
    """A setting as it is written on a command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
