"""The interface that every motion codec fills."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from moda.motion.layout import MotionLayout


@dataclass(frozen=True)
class EncodedClip:
    """What a codec reads off a clip of T frames.

    motion: (T, D) float32 in the layout's units. Frames without a face are interpolated.
    identity: (I,) float32, the motion-free description of whose face it is.
    found: (T,) bool, False where no face was found and the motion is interpolated.
    raw: what the codec measured on the way to ``motion``, (T, ...) by name; None where that is all there is.
    """

    motion: np.ndarray
    identity: np.ndarray
    found: np.ndarray
    raw: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Portrait:
    """A face ready to be animated.

    identity: (I,) float32, the condition of the motion generator.
    rest: (D,) float32, the portrait's own motion: what speech starts from.
    source: whatever the codec needs to render it; opaque outside the codec.
    start: (D,) the first frame of the motion that drives it, for codecs that can take motion as a change
        since then; None for the first frame that ``decode`` is given.
    """

    identity: np.ndarray
    rest: np.ndarray
    source: object
    start: np.ndarray | None = None

    def starting(self, motion: np.ndarray) -> "Portrait":
        """This portrait for motion (T, D) that will be decoded in pieces; a start that is known stays."""
        return self if self.start is not None else replace(self, start=motion[0])


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
        """Yield one uint8 RGB (size, size, 3) frame for each row of ``motion`` (T, D), as it is made.

        Motion that comes in pieces is decoded piece by piece, after ``portrait.starting(first piece)``.
        """
        ...

    def lip_aperture(self, motion: np.ndarray) -> np.ndarray:
        """(T, D) motion to (T,) opening of the mouth: 0 closed, in units of the mouth's width at rest."""
        ...


@runtime_checkable
class PastesBack(Protocol):
    """A codec that renders a part of the portrait's picture and can put it back there."""

    def picture_size(self, portrait: Portrait) -> tuple[int, int]:
        """(height, width) of the whole picture, even."""
        ...

    def paste_back(self, portrait: Portrait, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the whole picture, uint8 RGB, with each of the frames that ``decode`` gave in its place."""
        ...


@runtime_checkable
class DrivesInPart(Protocol):
    """A codec that may keep a part of the motion the portrait's own."""

    @property
    def unshown(self) -> tuple[str, ...]:
        """Signals of ``moda.motion.controls`` that its frames do not show, as it is set."""
        ...
