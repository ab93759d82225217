"""Reading features off many videos, over processes, into the cache; and reading them back one at a time."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from moda.errors import UserError
from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.extractors.base import Arrays, Collector, Extractor
from moda.eval.videos.parallel import for_each
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.boxes import face_box
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import View, is_square

VIDEO = "video file"  # the problem of a video that cannot be read at all


@dataclass(frozen=True)
class Item:
    """One video to be measured. sound: where its sound is, None for in itself.

    box_of: the reference's video, whose faces say where to crop if this one has frames of its size.
    """

    key: str
    video: Path
    sound: Path | None = None
    box_of: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What is known of an item. problems: extractor -> why it has nothing. Arrays stay on disk until asked for.

    cropped: whether a box around the face was cut out of its frames; else they were used whole.
    """

    key: str
    num_frames: int
    sha256: str
    sound_sha256: str
    cache: FeatureCache
    keys: Mapping[str, Mapping[str, Any]]
    problems: Mapping[str, str] = field(default_factory=dict)
    variable_rate: bool = False
    cropped: bool = False

    def get(self, extractor: str) -> Arrays | None:
        """Its arrays, None where there is a problem with it."""
        if extractor in self.problems or extractor not in self.keys:
            return None
        return self.cache.load(self.keys[extractor])


@dataclass(frozen=True)
class Plan:
    """How items are measured; goes to every process. build: names what makes the extractors there, on a device."""

    protocol: Protocol
    build: Callable[[str], Sequence[Extractor]]
    cache: Path
    devices: tuple[str, ...] = ("cpu",)


def measure(items: Sequence[Item], plan: Plan, processes: int = 1) -> list[Measured]:
    """Read what is not in the cache yet off every item; over ``processes``, which share the devices in turn.

    ``plan.build`` is a function of a module, or a partial of one, called once in each process.
    """
    unique = {(item.video, item.sound, item.box_of): item for item in items}
    tasks = [(plan, item) for item in unique.values()]
    todo = [task for task in tasks if not _is_cached(*task)]
    if todo:
        failed = for_each(_measure_task, todo, processes, "measuring")
        if failed:  # problems of videos are kept in the cache; what is left concerns the evaluation itself
            raise UserError(next(iter(failed.values())))
    return [measured(item, plan) for item in items]


def measured(item: Item, plan: Plan) -> Measured:
    """What the cache holds of an item."""
    cache = FeatureCache(plan.cache)
    try:
        view = view_of(item, plan.protocol, cache)
    except UserError as error:
        return Measured(item.key, 0, "", "", cache, {}, {VIDEO: str(error)})
    assert view is not None
    keys = {extractor.name: _key(view, extractor) for extractor in _extractors(plan)}
    problems = {}
    for name, key in keys.items():
        try:
            cache.load(key)
        except UserError as error:
            problems[name] = str(error)
        except KeyError:
            problems[name] = "it was not measured"
    source = view.source
    return Measured(
        item.key, view.num_frames, source.sha256, source.sound_sha256, cache, keys, problems, source.variable_rate,
        cropped=view.box is not None,
    )  # fmt: skip


def _is_cached(plan: Plan, item: Item) -> bool:
    cache = FeatureCache(plan.cache)
    try:
        view = view_of(item, plan.protocol, cache, look=False)
    except UserError:
        return True  # there is nothing to measure
    return view is not None and all(_key(view, extractor) in cache for extractor in _extractors(plan))


def _measure_task(task: tuple[Plan, Item]) -> None:
    plan, item = task
    cache = FeatureCache(plan.cache)
    try:
        view = view_of(item, plan.protocol, cache)
    except UserError:
        return  # ``measured`` meets it again and names it
    assert view is not None
    missing = [extractor for extractor in _extractors(plan) if _key(view, extractor) not in cache]
    read_features(view, missing, cache)


def read_features(view: View, extractors: Sequence[Extractor], cache: FeatureCache) -> None:
    """One pass over the frames for all extractors; a failure of one leaves the others alone."""
    collectors: dict[str, Collector] = {}
    keys = {extractor.name: _key(view, extractor) for extractor in extractors}

    def attempt(name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except UserError as error:
            collectors.pop(name, None)
            cache.save_failure(keys[name], str(error))

    for extractor in extractors:
        attempt(extractor.name, lambda e=extractor: collectors.update({e.name: e.begin(view)}))
    try:
        for block in view.blocks():
            for name, collector in list(collectors.items()):
                attempt(name, lambda c=collector, b=block: c.add(b))
    except UserError as error:  # of the video itself
        for name in list(collectors):
            cache.save_failure(keys[name], str(error))
        return
    for name, collector in list(collectors.items()):
        attempt(name, lambda n=name, c=collector: cache.save(keys[n], c.finish()))


def view_of(item: Item, protocol: Protocol, cache: FeatureCache, look: bool = True) -> View | None:
    """The item under the protocol. look: find the reference's faces if that has not been done; else None."""
    source = open_source(item.video, item.sound, protocol.fps)
    if protocol.crop == "frame" or is_square(source.size):
        return View(source, protocol)
    reference = open_source(item.box_of, None, protocol.fps) if item.box_of else source
    if reference.size != source.size:
        raise UserError(
            f"its frames are {source.size[1]} x {source.size[0]}, neither square nor of the size of the reference's "
            f"({reference.size[1]} x {reference.size[0]}): there is no telling where the face crop lies"
        )
    box = face_box(reference, protocol, cache, look)
    return None if box is None else View(source, protocol, box)


def _key(view: View, extractor: Extractor) -> dict[str, Any]:
    sound = view.source.sound_sha256 if extractor.needs_sound else None
    return {"view": view.identity(), "sound": sound, "extractor": extractor.name, **extractor.identity()}


@lru_cache(maxsize=2)
def _built(build: Callable[[str], Sequence[Extractor]], device: str) -> Sequence[Extractor]:
    return build(device)


def _extractors(plan: Plan) -> Sequence[Extractor]:
    """Built once a process, on the device that is this process's turn."""
    identity = multiprocessing.current_process()._identity
    return _built(plan.build, plan.devices[(identity[-1] - 1 if identity else 0) % len(plan.devices)])
