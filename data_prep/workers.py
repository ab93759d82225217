"""Extraction in worker processes, of which one may crash without taking the others' work along."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import cv2

from moda.data_prep.extract import Extractor, VideoItem
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.sources import Source, state_of
from moda.errors import UserError
from moda.files import atomic_path, read_json, write_json
from moda.progress import progress

ITEM_NAME = "item.json"
LOG_NAME = "decoder.log"

Finished = Callable[[Source, VideoItem], None]


def extract_all(
    settings: PrepareSettings, sources: list[Source], work: Path, state: str, extractor: Extractor | None
) -> dict[str, VideoItem]:
    """Read every source that ``work`` does not hold yet; returns source digest -> item.

    state: names the settings and models; an item made with others, or from a file that has changed,
    is made again. extractor: do the work in this process, with these models.
    """
    done = {source.digest: item for source in sources if (item := _stored(source, work, state)) is not None}
    missing = [source for source in sources if source.digest not in done]
    if done and missing:
        print(f"going on: {len(done)} of {len(sources)} videos were finished before")
    with progress("prepare", len(missing), "videos") as advance:

        def finished(source: Source, item: VideoItem) -> None:
            done[source.digest] = item
            advance(note=source.name)

        if extractor is not None:
            for source in missing:
                finished(source, _extract(extractor, source, work, state))
        else:
            _in_processes(settings, missing, work, state, finished)
    return done


def _in_processes(settings: PrepareSettings, missing: list[Source], work: Path, state: str, finished: Finished) -> None:
    """A video during which the process dies is tried once more on its own, and then given up."""
    for stale in work.glob("*.started"):  # of a run that was interrupted
        stale.unlink()
    crashed: list[Source] = []
    while missing:
        broken = _pool(settings, missing, work, state, finished)
        suspects = [source for source in broken if _started(source, work).exists()]
        if broken and not suspects:
            raise UserError(f"the worker processes could not be started; {work / LOG_NAME} says why")
        crashed += suspects
        missing = [source for source in broken if source not in suspects]
    for source in crashed:
        if _pool(settings, [source], work, state, finished):
            item = VideoItem(rejected="the program that decodes it crashed on it, twice")
            with atomic_path(work / source.digest) as folder:
                folder.mkdir()
                _write_item(folder, item, source, state)
            finished(source, item)


def _pool(settings: PrepareSettings, sources: list[Source], work: Path, state: str, finished: Finished) -> list[Source]:
    """Run one pool over ``sources``; returns those that were not finished because a process died."""
    broken: list[Source] = []
    pool = ProcessPoolExecutor(
        max_workers=max(1, min(settings.workers, len(sources))),
        mp_context=get_context("spawn"),  # the libraries at work here do not survive a fork
        initializer=_start_worker,
        initargs=(settings, work, state),
    )
    try:
        futures: dict[Future, Source] = {pool.submit(_work, source): source for source in sources}
        for future in as_completed(futures):
            try:
                finished(futures[future], future.result())
            except BrokenProcessPool:
                broken.append(futures[future])
    finally:
        pool.shutdown(cancel_futures=True)
    return broken


_worker: tuple[Extractor, Path, str]  # of this process


def _start_worker(settings: PrepareSettings, work: Path, state: str) -> None:
    global _worker
    cv2.setNumThreads(1)  # there is a process for every core
    log = os.open(work / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)  # decoders complain about damaged files at length
    os.close(log)
    _worker = (Extractor.of(settings), work, state)
    if (torch := sys.modules.get("torch")) is not None:  # of a codec or an encoder; nothing else here needs it
        torch.set_num_threads(1)


def _work(source: Source) -> VideoItem:
    extractor, work, state = _worker
    _started(source, work).touch()
    item = _extract(extractor, source, work, state)
    _started(source, work).unlink()
    return item


def _extract(extractor: Extractor, source: Source, work: Path, state: str) -> VideoItem:
    with atomic_path(work / source.digest) as folder:
        folder.mkdir()
        item = extractor.process(source, folder)
        _write_item(folder, item, source, state)
    return item


def _write_item(folder: Path, item: VideoItem, source: Source, state: str) -> None:
    write_json(folder / ITEM_NAME, {"state": [state, state_of(source.path)], "item": item.to_dict()})


def _stored(source: Source, work: Path, state: str) -> VideoItem | None:
    path = work / source.digest / ITEM_NAME
    if not path.is_file():
        return None
    value = read_json(path)
    return VideoItem.from_dict(value["item"]) if value["state"] == [state, state_of(source.path)] else None


def _started(source: Source, work: Path) -> Path:
    return work / f"{source.digest}.started"
