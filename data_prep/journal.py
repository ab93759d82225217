"""What tasks have finished, line by line, and how fast: shown while they run, and by ``moda prepare status``."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from moda.progress import progress

RECENT = 600.0  # seconds over which speed is told


@dataclass(frozen=True)
class Line:
    """One video that was read. size: bytes; seconds: of video that were read; wall: of time it took; at: when it ended."""

    digest: str
    size: int
    seconds: float
    clips: int
    wall: float
    at: float


class Journal:
    """The journals of all tasks in a folder; each has one writer."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[Path, int] = {}  # bytes

    def note(self, task: int, line: Line) -> None:
        """Add a line. A process that dies in the middle leaves half a line, which ends where the next begins."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{task:05d}.jsonl", "a") as file:
            file.write(f"\n{json.dumps(asdict(line))}")

    def new(self) -> list[Line]:
        """The lines that were added since the last call."""
        found = []
        for path in sorted(self.folder.glob("*.jsonl")):
            begin = self._read.get(path, 0)
            with open(path, "rb") as file:
                file.seek(begin)
                content = file.read()
            for text in content.splitlines():
                try:
                    found.append(Line(**json.loads(text)))
                except ValueError:  # empty, or half a line
                    continue
            self._read[path] = begin + len(content)
        return found


@dataclass
class Speed:
    """How fast videos are read, from the lines of the last ``RECENT`` seconds."""

    began: float
    lines: tuple[Line, ...] = ()

    def add(self, lines: list[Line]) -> None:
        self.lines = tuple(sorted((*self.lines, *lines), key=lambda line: line.at))

    def _recent(self, now: float) -> tuple[list[Line], float]:
        """The lines that count, and the seconds they took."""
        since = max(self.began, now - RECENT)
        return [line for line in self.lines if line.at >= since], max(now - since, 1e-3)

    def real_time(self, now: float) -> float:
        """Seconds of video in a second."""
        lines, seconds = self._recent(now)
        return sum(line.seconds for line in lines) / seconds

    def left(self, now: float, size: int) -> float | None:
        """Seconds that ``size`` more bytes will take; None where nothing tells."""
        lines, seconds = self._recent(now)
        done = sum(line.size for line in lines)
        return size * seconds / done if done else None

    def describe(self, now: float) -> str:
        lines, seconds = self._recent(now)
        return (
            f"{self.real_time(now):.1f} x real time, {60 * len(lines) / seconds:.1f} videos a minute" if lines else ""
        )


@contextmanager
def shown(journal: Journal, videos: int) -> Iterator[Callable[[], None]]:
    """Yield ``poll()``, which shows what has been finished since the last call."""
    speed = Speed(time.time())
    seen: set[str] = set()
    with progress("prepare", videos, "videos") as advance:

        def poll() -> None:
            lines = [line for line in journal.new() if line.digest not in seen]
            seen.update(line.digest for line in lines)
            speed.add(lines)
            if lines:
                advance(len(lines), rate=speed.describe(time.time()))

        yield poll
        poll()
