"""Tasks: balanced, run by anybody, and done again only where they were not done."""

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from moda.data_prep import local
from moda.data_prep.extract import Extractor
from moda.data_prep.items import VideoItem
from moda.data_prep.journal import Line, Speed
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.sources import Labels, Source
from moda.data_prep.status import status, status_lines
from moda.data_prep.tasks import WorkFolder, WorkList, plan_tasks, run_task
from moda.errors import UserError


def files(folder: Path, sizes: dict[str, int]) -> list[Source]:
    found = []
    for name, size in sizes.items():
        (folder / name).write_bytes(name.encode().ljust(size, b"."))
        found.append(Source(folder / name, name))
    return found


def test_tasks_hold_every_video_once_and_about_the_same_number_of_bytes(tmp_path: Path):
    sources = files(tmp_path, {f"{k}.mp4": 1000 + 37 * (k * 7919 % 100) for k in range(60)})
    tasks = plan_tasks(sources, workers=2, count=7)
    assert sorted(source.relative for task in tasks for source in task) == sorted(source.relative for source in sources)
    sizes = [sum(source.size for source in task) for task in tasks]
    assert len(tasks) == 7 and sizes == sorted(sizes, reverse=True) and max(sizes) < 1.05 * min(sizes)
    assert len(plan_tasks(sources[:3], workers=8)) == 3 and plan_tasks([], workers=1) == ()


class Reader:
    """Stands where the extractor does: notes what it reads, and may do something else instead."""

    def __init__(self, log: Path, act=lambda source: None):
        self.log, self.act, self.on_progress = log, act, lambda: None

    def process(self, source: Source, folder: Path) -> VideoItem:
        with open(self.log, "a") as file:
            file.write(source.relative + "\n")
        self.act(source)
        return VideoItem(rejected=f"read {source.relative}", length=2.0)


@pytest.fixture
def plan(tmp_path: Path) -> WorkList:
    sources = files(tmp_path, {name: 100 for name in ("a.mp4", "bad.mp4", "c.mp4", "d.mp4", "e.mp4")})
    settings = PrepareSettings(tmp_path, tmp_path / "out", {}, {}, {}, workers=2, stall_seconds=60)
    return WorkList(settings, "state", plan_tasks(sources, 1, 3), time.time())


@pytest.fixture
def work(plan: WorkList) -> WorkFolder:
    folder = WorkFolder.of(plan.settings.out)
    folder.save(plan)
    return folder


def read_names(work: WorkFolder) -> list[str]:
    return (work.path.parent.parent / "log").read_text().split()


def test_a_plan_is_read_as_it_was_written(plan: WorkList, work: WorkFolder, tmp_path: Path):
    assert work.load() == plan
    odd = Source(tmp_path / os.fsdecode(b"\xff.mp4"), os.fsdecode(b"\xff.mp4"), Labels("ann", "anger", 0.5, ("note",)))
    work.save(replace(plan, tasks=((odd,),)))
    assert work.load().tasks == ((odd,),)
    with pytest.raises(UserError, match="no work to do"):
        WorkFolder.of(tmp_path / "other").load()


def test_a_task_run_twice_reads_nothing_twice(plan: WorkList, work: WorkFolder, tmp_path: Path):
    for _ in range(2):
        for number in range(3):
            run_task(work, plan, number, Reader(tmp_path / "log"))
    assert sorted(read_names(work)) == ["a.mp4", "bad.mp4", "c.mp4", "d.mp4", "e.mp4"]
    assert all(work.item(source, "state") for task in plan.tasks for source in task)
    assert work.item(plan.tasks[0][0], "another state") is None


def test_a_file_that_changes_is_read_again_and_one_that_is_touched_is_not(plan: WorkList, work: WorkFolder, tmp_path):
    first, second = plan.tasks[0]
    run_task(work, plan, 0, Reader(tmp_path / "log"))
    os.utime(first.path, (5, 5))
    second.path.write_bytes(b"x" * 100)
    run_task(work, plan, 0, Reader(tmp_path / "log"))
    assert read_names(work) == [first.relative, second.relative, second.relative]


def test_a_file_that_could_not_be_read_is_tried_again_once_it_can(
    plan: WorkList, work: WorkFolder, tmp_path, monkeypatch
):
    first, second = plan.tasks[0]

    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("moda.data_prep.tasks.sha256_of", closed)
        for _ in range(2):
            run_task(work, plan, 0, Reader(tmp_path / "log"))
    assert read_names(work) == [first.relative, second.relative]
    run_task(work, plan, 0, Reader(tmp_path / "log"))
    assert read_names(work) == 2 * [first.relative, second.relative]


def test_what_is_interrupted_or_has_no_space_is_not_the_video_s_fault(plan: WorkList, work: WorkFolder, tmp_path: Path):
    def full(source: Source) -> None:
        raise UserError("no space left")

    for _ in range(5):
        with pytest.raises(UserError):
            run_task(work, plan, 0, Reader(tmp_path / "log", full))
    assert work.tries(plan.tasks[0][0]) == 0 and list(work.being_read()) == []


def load_reader(settings: PrepareSettings) -> Reader:
    """Of a worker process: dies of bad.mp4."""
    return Reader(settings.source / "log", lambda source: os._exit(11) if "bad" in source.relative else None)


def test_a_process_that_dies_costs_only_the_video_it_dies_of(plan: WorkList, work: WorkFolder, capsys):
    local.run_in_processes(work, plan, load_reader)
    items = {source.relative: work.item(source, "state") for task in plan.tasks for source in task}
    assert items["bad.mp4"].rejected == "the process that reads it died of it, 3 times"
    others = [name for name in read_names(work) if name != "bad.mp4"]
    assert sorted(others) == ["a.mp4", "c.mp4", "d.mp4", "e.mp4"]  # each once
    assert "5/5 videos" in capsys.readouterr().out and list(work.being_read()) == []


def load_sleeper(settings: PrepareSettings) -> Reader:
    return Reader(settings.source / "log", lambda source: time.sleep(600) if "bad" in source.relative else None)


def test_a_video_at_which_nothing_goes_on_is_given_up(plan: WorkList, work: WorkFolder):
    hasty = replace(plan, settings=replace(plan.settings, stall_seconds=1.0))
    work.save(hasty)
    local.run_in_processes(work, hasty, load_sleeper)
    items = {source.relative: work.item(source, "state") for task in plan.tasks for source in task}
    assert items["bad.mp4"].rejected == "reading it came to a stop: nothing for 1 s"
    assert sorted(read_names(work)) == ["a.mp4", "bad.mp4", "c.mp4", "d.mp4", "e.mp4"]


def load_nothing(settings: PrepareSettings) -> Extractor:
    raise UserError("a model is missing")


def test_workers_that_cannot_start_say_why(plan: WorkList, work: WorkFolder):
    with pytest.raises(UserError, match="a model is missing"):
        local.run_in_processes(work, plan, load_nothing)


def test_status_tells_what_is_done_how_fast_and_when_it_ends(plan: WorkList, work: WorkFolder, tmp_path: Path, capsys):
    now = time.time()
    work.save(replace(plan, began=now - 10))
    run_task(work, plan, 0, Reader(tmp_path / "log"))
    work.set_tries(plan.tasks[1][0], 1)
    (work.path / "tasks" / "00009.jsonl").write_text('\n{"digest": "half a li')
    found = status(plan.settings.out)
    assert (found.videos, found.done, found.tasks, found.tasks_done, found.seconds) == (5, 2, 3, 1, 4.0)
    assert found.real_time == pytest.approx(0.4, rel=0.2) and found.left == pytest.approx(15, rel=0.2)
    assert list(found.reading) == [plan.tasks[1][0].name]
    text = "\n".join(status_lines(plan.settings.out, found))
    assert "2 of 5 videos read" in text and "expected end: in 0:00:1" in text and plan.tasks[1][0].name in text
    with pytest.raises(UserError, match="neither"):
        status(tmp_path)


def test_status_tells_a_reading_whose_process_is_gone(plan: WorkList, work: WorkFolder):
    gone = subprocess.Popen(["true"])
    gone.wait()
    reader = {"tries": 1, "pid": gone.pid, "host": os.uname().nodename}
    first, second = plan.tasks[0]
    (work.path / "videos").mkdir()
    (work.path / f"videos/{first.digest}.tries").write_text(json.dumps(reader))
    (work.path / f"videos/{second.digest}.tries").write_text(json.dumps({**reader, "host": "elsewhere"}))
    found = status(plan.settings.out)
    assert found.interrupted == (first.name,) and list(found.reading) == [second.name]
    text = "\n".join(status_lines(plan.settings.out, found))
    assert f"interrupted, and read again by the same moda prepare: {first.name}" in text
    assert text.count("reading for") == 1


def test_speed_is_that_of_the_last_ten_minutes():
    speed = Speed(began=0.0)
    speed.add([Line("a", 100, 30.0, 1, 1.0, at=100.0), Line("b", 100, 60.0, 1, 1.0, at=900.0)])
    assert speed.real_time(1000.0) == pytest.approx(60 / 600) and speed.left(1000.0, 50) == pytest.approx(300)
    assert Speed(0.0).left(10.0, 5) is None


def test_one_command_at_a_time_plans_the_work(work: WorkFolder):
    with work.lock(), pytest.raises(UserError, match="another moda prepare"), work.lock():
        pass
    assert json.loads((work.path / "run.json").read_text())["state"] == "state"


@pytest.mark.parametrize(("visible", "left"), [(None, "1"), ("", ""), ("7", "7"), ("4,6", "6")])
def test_a_worker_has_one_of_the_gpus_that_may_be_used(monkeypatch, visible: str | None, left: str):
    monkeypatch.setattr(local, "list_gpus", lambda: ["nvidia0", "nvidia1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    local.use_gpu(3)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left
