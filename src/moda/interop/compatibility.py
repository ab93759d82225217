"""Do two things speak of the same motion? A data set, a motion VAE, a checkpoint, a codec."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.motion.statistics import MotionStatistics


@dataclass(frozen=True)
class MotionIdentity:
    """What must agree before numbers of one may be fed to the other."""

    statistics: MotionStatistics
    codec_fingerprint: str
    audio_fingerprint: str

    @classmethod
    def of(cls, manifest: DatasetManifest) -> "MotionIdentity":
        return cls(manifest.statistics, manifest.codec_fingerprint, manifest.audio_fingerprint)

    def to_dict(self) -> dict[str, Any]:
        return {
            "statistics": self.statistics.to_dict(),
            "codec_fingerprint": self.codec_fingerprint,
            "audio_fingerprint": self.audio_fingerprint,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> "MotionIdentity":
        try:
            return cls(
                MotionStatistics.from_dict(value["statistics"], where),
                value["codec_fingerprint"],
                value["audio_fingerprint"],
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{where} lacks {error}; train it again") from error


def require_match(
    ours: MotionIdentity, our_name: str, theirs: MotionIdentity, their_name: str, audio: bool = True
) -> None:
    """Raise UserError with the first thing that differs; ``audio`` False leaves the speech encoder out."""
    remedy = f"use the data set {their_name} was trained on, or train it again"
    a, b = ours.statistics, theirs.statistics
    if a.layout != b.layout:
        raise UserError(
            f"{our_name} has motion layout {a.layout.name} ({a.layout.dim} dimensions), "
            f"{their_name} has {b.layout.name} ({b.layout.dim}); {remedy}"
        )
    if not (np.allclose(a.mean, b.mean, rtol=1e-6, atol=1e-9) and np.allclose(a.std, b.std, rtol=1e-6, atol=1e-9)):
        off = int(np.argmax(np.abs(a.mean - b.mean) + np.abs(a.std - b.std)))
        raise UserError(
            f"motion statistics differ between {our_name} and {their_name}, most for {a.layout.names[off]} "
            f"(mean {a.mean[off]:.4g} and {b.mean[off]:.4g}); {remedy}"
        )
    if a.epsilon != b.epsilon:
        raise UserError(
            f"{our_name} and {their_name} normalise motion with epsilon {a.epsilon} and {b.epsilon}; {remedy}"
        )
    if ours.codec_fingerprint != theirs.codec_fingerprint:
        raise UserError(f"{our_name} and {their_name} come from different motion codecs; {remedy}")
    if audio and ours.audio_fingerprint != theirs.audio_fingerprint:
        raise UserError(f"{our_name} and {their_name} come from different speech encoders; {remedy}")
