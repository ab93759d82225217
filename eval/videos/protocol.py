"""Everything about an evaluation that could change a number, in one place."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from moda.errors import UserError
from moda.eval.intervals import FEWEST_RESAMPLES

CODE_VERSION = 1  # raise when the same settings would give another number
CROPS = ("face", "frame")


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
        if self.crop not in CROPS:
            raise UserError(f"protocol.crop={self.crop!r} is none of {', '.join(CROPS)}")
        if self.crop == "face" and self.size is None:
            raise UserError("protocol.crop=face needs protocol.size, the side of the crop in pixels")
        if self.fps != 25:
            raise UserError(f"protocol.fps={self.fps}: SyncNet sees 25 frames a second; other rates are converted")
        if self.pad is not None and (self.size is None or self.pad < self.size):
            raise UserError(f"protocol.pad={self.pad} must be at least protocol.size={self.size}")
        for name in ("fid_stride", "fvd_frames", "fvd_stride", "min_track", "max_seconds"):
            if getattr(self, name) <= 0:
                raise UserError(f"protocol.{name}={getattr(self, name)} must be positive")
        if self.resamples < FEWEST_RESAMPLES:  # said now, and not when everything has been measured
            raise UserError(f"protocol.resamples={self.resamples} must be at least {FEWEST_RESAMPLES}")

    @property
    def max_frames(self) -> int:
        return round(self.max_seconds * self.fps)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "code_version": CODE_VERSION}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every setting: protocols of one fingerprint measure alike."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
