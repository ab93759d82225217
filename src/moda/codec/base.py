"""The interface that every motion codec fills."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from moda.motion.layout import MotionLayout


@dataclass(frozen=True)
class EncodedClip:
    """What a codec reads off a clip of T frames.

    motion: (T, D) float32 in the layout's units. Frames without a face are interpolated.
    identity: (I,) float32, the motion-free description of whose face it is.
    found: (T,) bool, False where no face was found and the motion is interpolated.
    """

    motion: np.ndarray
    identity: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class Portrait:
    """A face ready to be animated.

    identity: (I,) float32, the condition of the motion generator.
    rest: (D,) float32, the portrait's own motion: what speech starts from.
    source: whatever the codec needs to render it; opaque outside the codec.
    """

    identity: np.ndarray
    rest: np.ndarray
    source: object


class MotionCodec(Protocol):
    """Frozen translator between video and motion.

    name, fingerprint: which codec, and a hash of the files that define it.
    layout: meaning of a motion vector; identity_dim: length I of an identity vector.
    size: side in pixels of the square frames that ``decode`` yields.
    """

    name: str
    fingerprint: str
    layout: MotionLayout
    identity_dim: int
    size: int

    def encode(self, frames: Iterable[np.ndarray]) -> EncodedClip:
        """Motion of a clip: frames are square uint8 RGB (S, S, 3) crops, 25 a second.

        Raises UserError when too few frames show a face.
        """
        ...

    def portrait(self, source: Path | str) -> Portrait:
        """Prepare an image file or a named identity of the codec for ``decode``.

        Raises UserError for a missing file, an unreadable image, no face or an unknown name.
        """
        ...

    def decode(self, portrait: Portrait, motion: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one uint8 RGB (size, size, 3) frame for each row of ``motion`` (T, D), as it is made."""
        ...

    def lip_aperture(self, motion: np.ndarray) -> np.ndarray:
        """(T, D) motion to (T,) opening of the mouth: 0 closed, in units of the mouth's width at rest."""
        ...
