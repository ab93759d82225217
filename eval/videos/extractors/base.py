"""The contract of what is read off a video once and kept by content."""

from typing import Any, Protocol

import numpy as np

from moda.eval.videos.reading.view import View

Arrays = dict[str, np.ndarray]


class Collector(Protocol):
    """Takes the frames of one video."""

    def add(self, frames: np.ndarray) -> None:
        """uint8 RGB (B, H, W, 3), at most 16, consecutive. One decoding feeds all extractors."""
        ...

    def finish(self) -> Arrays:
        """Raises UserError, without the path, where there is nothing to measure: too short, no face, silent."""
        ...


class Extractor(Protocol):
    """name: under which its arrays are kept. needs_sound: whether they depend on the sound as well."""

    @property
    def name(self) -> str: ...

    @property
    def needs_sound(self) -> bool: ...

    def identity(self) -> dict[str, Any]:
        """Everything that could change its numbers, as JSON: network, hash of its weights, settings, version."""
        ...

    def begin(self, view: View) -> Collector: ...
