"""What is written down of one video and of its clips, while they wait to be packed."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from moda.data.typed import typed

SAME_CONTENT = "it has the same content as "  # and the other file: why a copy is refused


@dataclass(frozen=True)
class ClipItem:
    """A clip in the working folder: KEY.npz, KEY.mp4, KEY.flac and KEY.jpg lie beside its item.json.

    emotion, intensity: as they are seen, where that is sure enough. face: embedding of whose face it is, for
    telling speakers apart, empty where it is not known.
    """

    key: str
    start: int  # frame of the video
    num_frames: int
    crop: tuple[float, float, float]
    quality: dict[str, float]
    notes: list[str]
    emotion: str | None = None
    intensity: float | None = None
    face: list[float] = field(default_factory=list)


@dataclass
class VideoItem:
    """What became of one video. ``rejected`` is the reason when there is no clip."""

    clips: list[ClipItem] = field(default_factory=list)
    rejected: str | None = None
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # why, of each stretch that is no clip
    seconds: dict[str, float] = field(default_factory=dict)  # of work, by stage
    length: float = 0.0  # seconds of video that were read
    file_state: str = ""  # size and time of change of the file
    sha256: str = ""  # of its content

    @property
    def reason(self) -> str:
        """Why there is no clip, with what else is known of the video."""
        return f"{self.rejected}" + (f" ({'; '.join(self.notes)})" if self.notes else "")

    def known_as(self, known: Mapping[str, str]) -> Self:
        """With ``file_state`` and ``sha256`` filled in."""
        return replace(self, **known)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Raises ValueError where ``value`` is not what ``to_dict`` gives."""
        return typed(cls, {**value, "clips": [typed(ClipItem, clip) for clip in value["clips"]]})


class StageClock:
    """Seconds of one core spent in each stage, all threads counted; an inner stage is not counted for the outer."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage: str | None = None
        self._since = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        outer = self._switch(stage)
        try:
            yield
        finally:
            self._switch(outer)

    def timed(self, stage: str, items: Iterator) -> Iterator:
        """``items``, with the time it takes to get each counted for ``stage``."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def _switch(self, stage: str | None) -> str | None:
        now, before = time.process_time(), self._stage
        if before is not None:
            self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before
