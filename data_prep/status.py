"""How far a preparation is: done, being read, how fast, and when it will end."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from moda.data.schema import MANIFEST_NAME, DatasetManifest
from moda.data_prep.journal import Speed
from moda.data_prep.settings import FPS
from moda.data_prep.tasks import RUN_NAME, WorkFolder
from moda.errors import UserError
from moda.progress import clock


@dataclass(frozen=True)
class Status:
    """Of the work that was planned last.

    videos, done, clips: numbers; tasks, tasks_done; seconds: of video that were read; real_time: seconds of
    video in a second, over the last ten minutes; left: seconds to the expected end, None where nothing tells.
    reading: name and seconds since it began of each video that a process is at. interrupted: those whose process is gone.
    """

    launcher: str
    videos: int
    done: int
    clips: int
    tasks: int
    tasks_done: int
    seconds: float
    elapsed: float
    real_time: float
    left: float | None
    reading: dict[str, float] = field(default_factory=dict)
    interrupted: tuple[str, ...] = ()


def status(out: Path) -> Status | None:
    """Of the work at ``out``; None where there is nothing to do, as the data set is whole."""
    work = WorkFolder.of(out)
    if not (work.path / RUN_NAME).is_file():
        if (out / MANIFEST_NAME).is_file():
            return None
        raise UserError(f"{out} holds neither a data set nor the beginning of one; give the out= of moda prepare")
    plan, now = work.load(), time.time()
    lines = {line.digest: line for line in work.journal.new()}
    speed = Speed(plan.began)
    speed.add(list(lines.values()))
    sources = {source.digest: source for task in plan.tasks for source in task}
    begun = [(sources[digest].name, *rest) for digest, *rest in work.being_read() if digest in sources.keys() - lines]
    left = [source for digest, source in sources.items() if digest not in lines]
    return Status(
        launcher=plan.settings.launcher,
        videos=len(sources),
        done=len(sources) - len(left),
        clips=sum(line.clips for line in lines.values()),
        tasks=len(plan.tasks),
        tasks_done=sum(all(source.digest in lines for source in task) for task in plan.tasks),
        seconds=sum(line.seconds for line in lines.values()),
        elapsed=now - plan.began,
        real_time=speed.real_time(now),
        left=speed.left(now, sum(source.size for source in left)),
        reading={name: since for name, since, alive in begun if alive},
        interrupted=tuple(name for name, _, alive in begun if not alive),
    )


def status_lines(out: Path, found: Status | None, now: float | None = None) -> list[str]:
    """What ``moda prepare status`` prints."""
    if found is None:
        manifest = DatasetManifest.load(out)
        frames = sum(shard.num_frames for shard in manifest.shards)
        clips = sum(shard.num_samples for shard in manifest.shards)
        return [f"{out}: whole, {clips} clips ({clock(frames / FPS)}) in {len(manifest.shards)} shards"]
    lines = [
        f"{out}: {found.done} of {found.videos} videos read, {found.clips} clips; "
        f"{found.tasks_done} of {found.tasks} tasks done ({found.launcher})",
        f"  speed: {found.real_time:.1f} x real time; {clock(found.seconds)} of video in {clock(found.elapsed)}",
    ]
    if found.left is not None and found.done < found.videos:
        end = time.strftime("%Y-%m-%d %H:%M", time.localtime((now or time.time()) + found.left))
        lines.append(f"  expected end: in {clock(found.left)}, {end}")
    if found.done == found.videos:
        lines.append("  everything has been read; the same moda prepare again writes the shards")
    lines += [f"  interrupted, and read again by the same moda prepare: {name}" for name in found.interrupted]
    return lines + [f"  reading for {clock(since)}: {name}" for name, since in found.reading.items()]
