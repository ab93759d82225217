"""Which face is followed and where clips begin and end, decided while frames go by. Costs nothing.

So that a video is decoded once, nothing is known of what comes: a clip is complete as soon as it has its
full length and enough follows for another one. Where the face is lost, or the scene ends, what is left is
one clip, or two equal ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda.data_prep.clips import split
from moda.data_prep.track import Box, Seen, Track, area

LARGER = 1.5  # times the area: a face that another has to exceed to be followed in its place
FOR_LOOKS = 5  # in a row
MIN_LOOKS = 3  # times a second face must be seen to be told of; fewer are mostly false alarms


@dataclass(frozen=True, eq=False)
class Span:
    """Frames [start, stop) of one face. at, seen: the sampled frames among them, and what was seen there.

    beside: the most other faces that were followed at one time.
    """

    start: int
    stop: int
    at: tuple[int, ...]
    seen: tuple[Seen, ...]
    beside: int

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) at the sampled frames."""
        return np.array([seen.box for seen in self.seen], np.float64).reshape(-1, 4)

    @property
    def face_size(self) -> float:
        """Median of the longer side of the boxes, in pixels."""
        return float(np.median([seen.size for seen in self.seen]))


class Selector:
    """longest, shortest: frames of a clip. every: frames from one look to the next.

    ``too_short`` are the stretches [start, stop) with a face that were not long enough for a clip.
    """

    def __init__(self, longest: int, shortest: int, every: int):
        self.longest, self.shortest, self.every = longest, shortest, every
        self.too_short: list[tuple[int, int]] = []
        self._track: Track | None = None
        self._start = 0
        self._larger = 0
        self._beside: dict[int, int] = {}  # look -> other faces

    @property
    def followed(self) -> Box | None:
        """Where the face that is followed was seen last; None where none is, and frames need not be kept."""
        return self._track.last.box if self._track else None

    @property
    def needed_from(self) -> int:
        """The first frame that a coming span can begin with, while a face is followed."""
        return self._start

    def seen_at(self, number: int) -> Seen | None:
        """The face that is followed, if it was seen at frame ``number``."""
        return self._track.last if self._track and self._track.frames[-1] == number else None

    def look(self, number: int, live: Sequence[Track]) -> list[Span]:
        """What was followed at frame ``number``; returns the spans that are complete."""
        spans: list[Span] = []
        if self._track is not None and self._track not in live:
            spans += self._close(self._track.frames[-1] + 1)
        seen_now = [track for track in live if track.frames[-1] == number]
        largest = max(seen_now, key=lambda track: area(track.last.box), default=None)
        if self._track is not None and largest is not None and self._is_displaced_by(largest):
            spans += self._close(min(self._track.frames[-1] + 1, number))
        if self._track is None and largest is not None:
            self._track, self._start, self._larger, self._beside = largest, number, 0, {}
        if self._track is not None:
            self._beside[number] = sum(t is not self._track and len(t.frames) >= MIN_LOOKS for t in live)
            while self._track.frames[-1] + 1 - self._start >= self.longest + self.shortest:
                spans.append(self._span(self._start, self._start + self.longest))
                self._start += self.longest
        return spans

    def cut(self, number: int) -> list[Span]:
        """Frame ``number`` shows another scene."""
        return self._close(self._lasts_to(number))

    def end(self, num_frames: int) -> list[Span]:
        """The video is over."""
        return self._close(self._lasts_to(num_frames))

    def _is_displaced_by(self, largest: Track) -> bool:
        assert self._track is not None
        displaced = largest is not self._track and area(largest.last.box) > LARGER * area(self._track.last.box)
        self._larger = self._larger + 1 if displaced else 0
        return self._larger >= FOR_LOOKS

    def _lasts_to(self, stop: int) -> int:
        """A face that was there at the last look before ``stop`` was there up to it."""
        if self._track is None:
            return stop
        last = self._track.frames[-1]
        return stop if last + self.every >= stop else last + 1

    def _close(self, stop: int) -> list[Span]:
        if self._track is None:
            return []
        pieces = split(self._start, stop, self.longest, self.shortest)
        if not pieces and stop > self._start:
            self.too_short.append((self._start, stop))
        spans = [self._span(a, b) for a, b in pieces]
        self._track = None
        return spans

    def _span(self, start: int, stop: int) -> Span:
        assert self._track is not None
        pairs = [
            (at, seen) for at, seen in zip(self._track.frames, self._track.seen, strict=True) if start <= at < stop
        ]
        beside = max((count for at, count in self._beside.items() if start <= at < stop), default=0)
        return Span(start, stop, tuple(at for at, _ in pairs), tuple(seen for _, seen in pairs), beside)
