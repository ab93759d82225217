"""The work of a preparation: videos to be read, in tasks that any worker can run, wherever it is.

    OUT/.work/run.json             the settings, and the videos of each task
    OUT/.work/videos/DIGEST/       what was read off one video: complete (it has item.json) or not there
    OUT/.work/videos/DIGEST.tries  a reading that has begun and not ended, and how many died before it
    OUT/.work/tasks/00007.jsonl    one line for each video that task 7 has finished

A task may be run again at any time, by anybody: what is complete is passed over. So a worker that dies
costs the video it was reading, and nothing else.
"""

import fcntl
import heapq
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moda.data_prep.extract import Extractor
from moda.data_prep.items import VideoItem
from moda.data_prep.journal import Journal, Line
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.sources import Labels, Source, state_of
from moda.data_prep.watchdog import Watchdog
from moda.errors import UserError
from moda.files import atomic_path, read_json, remove, sha256_of, write_json

WORK, RUN_NAME, ITEM_NAME = ".work", "run.json", "item.json"
MAX_TRIES = 3  # processes that may die at one video before it is given up
VIDEOS_OF_A_TASK = 64  # at most, where the number of tasks is not given


@dataclass(frozen=True)
class WorkList:
    """What is to be done. state: names the settings and models that an item must have been made with."""

    settings: PrepareSettings
    state: str
    tasks: tuple[tuple[Source, ...], ...]
    began: float  # seconds since the epoch

    @property
    def videos(self) -> int:
        return sum(map(len, self.tasks))


def plan_tasks(sources: Sequence[Source], workers: int, count: int | None = None) -> tuple[tuple[Source, ...], ...]:
    """Divide ``sources`` into ``count`` tasks of about the same number of bytes, the largest task first.

    Without a count there are eight for each worker, so that the last ones end at about the same time, and
    as many more as it takes for none to have over ``VIDEOS_OF_A_TASK`` videos.
    """
    if count is None:
        count = max(8 * max(workers, 1), -(-len(sources) // VIDEOS_OF_A_TASK))
    heap: list[tuple[int, int, list[Source]]] = [(0, number, []) for number in range(min(count, len(sources)))]
    for size, source in sorted(((source.size, source) for source in sources), key=lambda pair: -pair[0]):
        bytes_, number, members = heapq.heappop(heap)  # longest processing time first (Graham, 1969)
        members.append(source)
        heapq.heappush(heap, (bytes_ + max(size, 1), number, members))
    return tuple(tuple(members) for _, _, members in sorted(heap, key=lambda entry: (-entry[0], entry[1])))


@dataclass(frozen=True)
class WorkFolder:
    """OUT/.work, which all workers of a preparation share."""

    path: Path

    @classmethod
    def of(cls, out: Path) -> "WorkFolder":
        return cls(out / WORK)

    def save(self, plan: WorkList) -> None:
        """Write run.json, and forget the journals of the tasks that were planned before."""
        remove(self.path / "tasks")
        tasks = [[_source_to_list(source) for source in task] for task in plan.tasks]
        value = {"settings": plan.settings.to_dict(), "state": plan.state, "began": plan.began, "tasks": tasks}
        with atomic_path(self.path / RUN_NAME) as temporary:
            temporary.write_text(json.dumps(value))  # ASCII: names need not be valid UTF-8

    def load(self) -> WorkList:
        if not (self.path / RUN_NAME).is_file():
            raise UserError(f"{self.path.parent} holds no work to do; begin with: moda prepare source=... out=...")
        value = read_json(self.path / RUN_NAME)
        settings = PrepareSettings.from_dict(value["settings"])
        tasks = tuple(tuple(_source_from_list(entry) for entry in task) for task in value["tasks"])
        return WorkList(settings, value["state"], tasks, value["began"])

    def folder(self, source: Source) -> Path:
        """Where what was read off ``source`` lies."""
        return self.path / "videos" / source.digest

    def item(self, source: Source, state: str) -> VideoItem | None:
        """What was read off ``source``, if that is complete, made in this way, and the file is still the same."""
        path = self.folder(source) / ITEM_NAME
        if not path.is_file():
            return None
        value = read_json(path)
        item = VideoItem.from_dict(value["item"])
        return item if value["state"] == state and is_same(source, item) else None

    def items(self) -> Iterator[tuple[str, VideoItem]]:
        """(digest, what was read) of each video here that is complete."""
        for path in sorted(self.path.glob(f"videos/*/{ITEM_NAME}")):
            yield path.parent.name, VideoItem.from_dict(read_json(path)["item"])

    def planned(self) -> list[Source]:
        """The videos that were planned last."""
        return [source for task in self.load().tasks for source in task] if (self.path / RUN_NAME).is_file() else []

    def write_item(self, source: Source, state: str, make: Callable[[Path], VideoItem]) -> VideoItem:
        """Have ``make`` fill a folder, and put it in its place when it is whole."""
        for stale in self.path.glob(f"videos/.{source.digest}.*"):  # of a process that died
            remove(stale)
        with atomic_path(self.folder(source)) as folder:
            folder.mkdir()
            item = make(folder)
            write_json(folder / ITEM_NAME, {"state": state, "item": item.to_dict()})
        return item

    def tries(self, source: Source) -> int:
        """How many processes died while they read ``source``, or one does so now."""
        path = self._tries_path(source)
        return int(read_json(path)["tries"]) if path.is_file() else 0

    def set_tries(self, source: Source, tries: int) -> None:
        if tries:
            write_json(self._tries_path(source), {"tries": tries, "pid": os.getpid(), "host": os.uname().nodename})
        else:
            self._tries_path(source).unlink(missing_ok=True)

    def being_read(self) -> Iterator[tuple[str, float, bool]]:
        """(digest, seconds since it began, whether it still goes on) of each video whose reading has begun and not ended.

        Of a process on another machine nothing is known, and it is taken to go on.
        """
        for path in sorted(self.path.glob("videos/*.tries")):
            try:
                since, reader = time.time() - path.stat().st_mtime, read_json(path)
            except (OSError, UserError):  # ended in between
                continue
            here = reader["host"] == os.uname().nodename
            yield path.stem, since, not here or _is_alive(reader["pid"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one command that plans the work or packs it. Workers need not hold it."""
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"another moda prepare works in {self.path.parent}; wait for it or end it") from error
            yield

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.path / "tasks")

    def _tries_path(self, source: Source) -> Path:
        return self.path / "videos" / f"{source.digest}.tries"


def models_of(plan: WorkList) -> Extractor:
    """The models of a worker elsewhere; UserError where they would measure otherwise than those the work is planned for."""
    extractor = Extractor.of(plan.settings)
    if extractor.state != plan.state:
        raise UserError(
            f"the models on {os.uname().nodename} ({', '.join(extractor.fingerprints)}) are not those that the work was "
            "planned with; give all machines the same weights, or run moda prepare again"
        )
    return extractor


def run_task(
    work: WorkFolder, plan: WorkList, number: int, extractor: Extractor, between: Callable[[], bool] = lambda: False
) -> None:
    """Read the videos of task ``number`` that are missing; ``between`` two, True leaves the rest to others."""
    for source in plan.tasks[number]:
        if between():
            return
        if work.item(source, plan.state) is None:
            began = time.monotonic()
            item = _read(work, plan, number, source, extractor)
            _note(work, number, source, item, time.monotonic() - began)


def _read(work: WorkFolder, plan: WorkList, number: int, source: Source, extractor: Extractor) -> VideoItem:
    """One video, if processes have not died at it too often."""

    def give_up(reason: str) -> VideoItem:
        item = VideoItem(rejected=reason, **identify(source))
        work.write_item(source, plan.state, lambda _: item)
        work.set_tries(source, 0)
        return item

    def stalled() -> None:
        seconds = plan.settings.stall_seconds
        _note(work, number, source, give_up(f"reading it came to a stop: nothing for {seconds:g} s"), seconds)

    before = work.tries(source)
    if before >= MAX_TRIES:
        return give_up(f"the process that reads it died of it, {before} times")
    work.set_tries(source, before + 1)
    try:
        known = identify(source)
        with Watchdog(plan.settings.stall_seconds, stalled) as watchdog:
            extractor.on_progress = watchdog.beat
            item = work.write_item(source, plan.state, lambda folder: extractor.process(source, folder).known_as(known))
    except BaseException:  # interrupted, or no space left: not the video's fault
        work.set_tries(source, before)
        raise
    work.set_tries(source, 0)
    return item


def _note(work: WorkFolder, number: int, source: Source, item: VideoItem, wall: float) -> None:
    line = Line(source.digest, source.size, item.length, len(item.clips), round(wall, 3), round(time.time(), 3))
    work.journal.note(number, line)


def identify(source: Source) -> dict[str, str]:
    """What a file is recognised by: its state, and the SHA-256 of its content."""
    state = state_of(source.path)
    try:
        return {"file_state": state, "sha256": sha256_of(source.path) if source.path.is_file() else ""}
    except OSError:  # reading it will say why
        return {"file_state": state, "sha256": ""}


def is_same(source: Source, item: VideoItem) -> bool:
    """Whether the file is still what the item was read off: the content decides where time or place have changed."""
    now = state_of(source.path)
    if now == item.file_state:  # one that could not be read may have been opened to us, which changes no time
        return bool(item.sha256) or not identify(source)["sha256"]
    same_size = bool(now) and now.split(":")[0] == item.file_state.split(":")[0]
    return same_size and bool(item.sha256) and identify(source)["sha256"] == item.sha256


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _source_to_list(source: Source) -> list[Any]:
    labels = source.labels
    values = None if labels is None else [labels.speaker, labels.emotion, labels.intensity, list(labels.notes)]
    return [str(source.path), source.relative, values, source.sound and str(source.sound)]


def _source_from_list(entry: list[Any]) -> Source:
    path, relative, values, sound = entry
    labels = None if values is None else Labels(*values[:3], notes=tuple(values[3]))
    return Source(Path(path), relative, labels, Path(sound) if sound else None)
