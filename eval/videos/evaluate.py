"""The whole road: whose videos, their controls, what is measured on them, and what comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from moda.devices import resolve_device
from moda.errors import UserError
from moda.eval.metrics.base import Metric, Score
from moda.eval.metrics.speed import COLUMNS as SPEED_COLUMNS
from moda.eval.videos.extractors.base import Extractor
from moda.eval.videos.extractors.networks import Networks, build_extractors
from moda.eval.videos.from_run import RunSettings, videos_of_run
from moda.eval.videos.measure import Measured, Plan, measure
from moda.eval.videos.protocol import Protocol, check_number
from moda.eval.videos.reading.folder import find_methods, find_videos
from moda.eval.videos.rows import REFERENCE_SET, Material, Row, make_rows
from moda.eval.videos.scoring.scores import Scores, score
from moda.eval.videos.scoring.speed import told_speed


@dataclass(frozen=True)
class Request:
    """What ``conf/evaluate.yaml`` describes.

    generated: folder of videos, or run: a trained run, whose videos are made first. reference: folder of
    videos of the same names; with other names it serves as a set that distributions are compared with.
    pattern: see ``folder.find_methods``. out: of results; cache: of features, by default OUT/cache.
    processes: that measure at once, over ``devices`` in turn.
    """

    protocol: Protocol
    metrics: Mapping[str, Metric]
    networks: Networks
    out: Path
    generated: Path | None = None
    reference: Path | None = None
    pattern: str | None = None
    run: RunSettings | None = None
    codec_spec: Mapping[str, Any] | None = None
    cache: Path | None = None
    processes: int = 1
    devices: tuple[str, ...] = ("auto",)

    def __post_init__(self) -> None:
        if (self.generated is None) == (self.run is None):
            raise UserError("give generated=DIR, a folder of videos, or run=RUN, a trained run; one of the two")
        if self.run is not None and (self.reference is not None or self.pattern is not None):
            raise UserError("reference and pattern go with generated=DIR; a run is scored against its own data set")
        check_number("processes", self.processes, whole=True, least=1)


@dataclass(frozen=True)
class VideoEvaluation:
    """Everything that results and report are made of."""

    request: Request
    networks: Networks
    rows: list[Row]
    found: dict[str, list[Measured]]
    scores: Scores
    labels: dict[str, str]
    identities: dict[str, Any]
    unpaired: bool
    notes: list[str] = field(default_factory=list)


def evaluate(request: Request) -> VideoEvaluation:
    """Make what is missing, measure what is not in the cache, score. Raises UserError for what cannot be."""
    networks, notes = request.networks.resolved()
    devices = tuple(str(resolve_device(name)) for name in request.devices)
    material, speed = _material(request, notes)
    rows = make_rows(
        material, request.out / "controls", request.protocol, processes=request.processes, seed=request.protocol.seed
    )
    cache = request.cache or request.out / "cache"
    build = partial(_build, networks, request.protocol, torch.get_num_threads())
    plan = Plan(request.protocol, build, cache, devices)
    found = measure_rows(rows, plan, request.processes)
    extractors = build(devices[0])
    labels = {
        extractor.name: label for extractor in extractors if (label := getattr(extractor, "label", None)) is not None
    }
    scores = score(
        rows,
        found,
        request.protocol,
        request.metrics,
        labels,
        unpaired=REFERENCE_SET if material.others else None,
        speed=speed,
    )
    if not any(_is_measured(scores.rows[row.name]) for row in rows if row.kind == "method"):
        raise UserError(f"nothing could be measured: {_first_reason(rows, found)}")
    identities = {extractor.name: extractor.identity() for extractor in extractors}
    notes += _notes_on_videos(rows, found)
    return VideoEvaluation(request, networks, rows, found, scores, labels, identities, bool(material.others), notes)


def _build(networks: Networks, protocol: Protocol, threads: int, device: str) -> Sequence[Extractor]:
    torch.set_num_threads(threads)
    return build_extractors(networks, protocol, device)


def measure_rows(rows: Sequence[Row], plan: Plan, processes: int) -> dict[str, list[Measured]]:
    """Every row's clips; one pass over all of them, so that processes are never idle between rows."""
    measured = iter(measure([item for row in rows for item in row.items], plan, processes))
    return {row.name: [next(measured) for _ in row.items] for row in rows}


def _material(request: Request, notes: list[str]) -> tuple[Material, dict[str, dict[str, float]]]:
    """What rows are made of, and real-time factors by row."""
    if request.run is not None:
        made = videos_of_run(request.run, request.out / "videos", request.processes, request.protocol.max_seconds)
        notes += [*made.notes, *(f"{item.what} is left out: {item.reason}" for item in made.left_out)]
        speed = {name: value for name, value in made.speed.items() if value is not None}
        material = Material(
            {"model": made.model},
            reference=made.reference,
            sounds=made.sounds,
            mismatched=made.mismatched,
            codec_spec=made.codec_spec,
        )
        return material, {"model": speed}
    assert request.generated is not None
    reference = find_videos(request.reference) if request.reference else {}
    methods, how = find_methods(request.generated, request.pattern, known=reference)
    notes.append(f"{request.generated}: {how}")
    if reference and not any(set(videos) & set(reference) for videos in methods.values()):
        notes.append(
            f"no video of {request.reference} is named like one of {request.generated}: it serves as a set of other clips, "
            "and columns that compare with the same clip are empty"
        )
        return Material(methods, others=reference, codec_spec=request.codec_spec), told_speed(methods)
    if not reference:
        notes.append(
            "there is no reference: distances to real videos and everything that compares with the same clip are empty; "
            "the controls are made from the methods' own videos"
        )
    return Material(methods, reference, codec_spec=request.codec_spec), told_speed(methods)


def _notes_on_videos(rows: Sequence[Row], found: Mapping[str, Sequence[Measured]]) -> list[str]:
    uneven = sorted({f"{row.title} {clip.key}" for row in rows for clip in found[row.name] if clip.variable_rate})
    notes = [f"frames are unevenly spaced in time, and were put at 25 a second: {', '.join(uneven)}"] if uneven else []
    truth = {clip.key: clip for clip in found.get("ground_truth", ())}
    for row in rows:
        if row.kind != "method":
            continue
        lengths = [
            f"{clip.key} {clip.num_frames} and {truth[clip.key].num_frames}"
            for clip in found[row.name]
            if clip.key in truth and clip.num_frames != truth[clip.key].num_frames and clip.num_frames
        ]
        if lengths:
            notes.append(
                f"{row.title} has not as many frames as ground truth, only those that both have are compared one by one: "
                f"{'; '.join(lengths[:8])}{' and more' if len(lengths) > 8 else ''}"
            )
    return notes


def _is_measured(scores: Mapping[str, Score]) -> bool:
    """Whether any number was read off the videos; speed is told beside them."""
    return any(score.value is not None for name, score in scores.items() if name not in SPEED_COLUMNS)


def _first_reason(rows: Sequence[Row], found: Mapping[str, Sequence[Measured]]) -> str:
    for row in rows:
        for clip in found[row.name]:
            for reason in clip.problems.values():
                return f"{row.title} {clip.key}: {reason}"
    return "no method has a video"
