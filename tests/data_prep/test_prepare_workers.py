"""Extraction in processes: one that dies does not take the others' work along."""

import os
from pathlib import Path

from moda.data_prep import workers
from moda.data_prep.extract import VideoItem
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.sources import Source

_here: Path


def start(settings: PrepareSettings, work: Path, state: str) -> None:
    global _here
    _here = work


def die_on_the_bad_one(source: Source) -> VideoItem:
    workers._started(source, _here).touch()
    if "bad" in source.relative:
        os._exit(11)
    workers._started(source, _here).unlink()
    return VideoItem(notes=[source.relative])


def test_a_crash_costs_only_the_video_that_causes_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(workers, "_start_worker", start)
    monkeypatch.setattr(workers, "_work", die_on_the_bad_one)
    settings = PrepareSettings(tmp_path, tmp_path / "out", {}, {}, {}, workers=2)
    sources = [Source(tmp_path / name, name) for name in ("a.mp4", "bad.mp4", "c.mp4", "d.mp4", "e.mp4")]
    items = workers.extract_all(settings, sources, tmp_path, "state", None)
    assert {source.relative: items[source.digest].rejected is None for source in sources} == {
        "a.mp4": True, "bad.mp4": False, "c.mp4": True, "d.mp4": True, "e.mp4": True
    }  # fmt: skip
    assert "crashed" in items[sources[1].digest].reason
    assert (tmp_path / sources[1].digest / "item.json").is_file()  # it is not tried again by the next run
