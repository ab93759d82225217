"""Verifying a data set: every shard, every sample, and what dataset.json says of them."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from moda.data.index import ShardIndex, scan
from moda.data.media_check import wrong_sound, wrong_video
from moda.data.schema import FEATURE_MEMBERS, MANIFEST_NAME, SPLITS, VIDEO_MEMBERS, ClipRecord, DatasetManifest, Shard
from moda.data.shards import CorruptSampleError, FeatureShards, check_shard
from moda.data.typed import typed
from moda.data.writer import dataset_fingerprint
from moda.errors import UserError
from moda.files import sha256_of
from moda.motion.statistics import MotionStatistics, StatisticsAccumulator
from moda.progress import progress

TOLERANCE = 1e-5  # of statistics, in standard deviations; shards hold float32


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. where: a file, relative to the data set. key: the sample, if it is about one."""

    where: str
    key: str | None
    problem: str

    def __str__(self) -> str:
        return f"{self.where}{f' {self.key}' if self.key else ''}: {self.problem}"


@dataclass
class ShardReport:
    """What was found in one shard and its video tar. speakers: key -> speaker, of the samples that decode."""

    shard: Shard
    findings: list[Finding] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    speakers: dict[str, str] = field(default_factory=dict)
    statistics: StatisticsAccumulator | None = None

    def add(self, problem: str, key: str | None = None, where: str | None = None) -> None:
        self.findings.append(Finding(where or self.shard.features, key, problem))


@dataclass(frozen=True)
class LintReport:
    """samples: how many decode."""

    findings: tuple[Finding, ...]
    shards: int
    samples: int


def lint(root: str | Path, split: str | None = None, jobs: int = 1, video: bool = False) -> LintReport:
    """Verify the data set at ``root``, or one split of it, in ``jobs`` processes; ``video``: its videos and sounds too.

    Raises UserError where there is no data set to look at, or no such split.
    """
    root = Path(root)
    manifest = DatasetManifest.load(root)
    shards = manifest.shards if split is None else manifest.shards_of(split)
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: must be at least 1")
    reports = _inspect_all(root, manifest, shards, jobs, video)
    findings = [
        *_wrong_in_manifest(root, manifest),
        *(finding for report in reports for finding in report.findings),
        *_repeated_keys(reports),
        *_misplaced_speakers(manifest, reports),
        *_wrong_statistics(manifest, reports),
        *(_wrong_records(root, manifest, reports) if split is None else ()),
    ]
    return LintReport(tuple(findings), len(reports), sum(len(report.speakers) for report in reports))


def _inspect_all(
    root: Path, manifest: DatasetManifest, shards: tuple[Shard, ...], jobs: int, video: bool
) -> list[ShardReport]:
    """The shards' reports, in their order."""
    inspect = partial(inspect_shard, root, manifest, video=video)
    reports: dict[Shard, ShardReport] = {}
    with progress("lint", len(shards), "shards") as advance:
        if jobs == 1:
            for shard in shards:
                reports[shard] = inspect(shard)
                advance(note=shard.features)
        else:
            with ProcessPoolExecutor(min(jobs, len(shards)), mp_context=get_context("spawn")) as pool:
                pending = {pool.submit(inspect, shard): shard for shard in shards}
                try:
                    for done in as_completed(pending):
                        reports[pending[done]] = done.result()
                        advance(note=pending[done].features)
                except BrokenProcessPool as error:
                    raise UserError("a process of moda lint died, often for want of memory; lower --jobs") from error
    return [reports[shard] for shard in shards]


def inspect_shard(root: Path, manifest: DatasetManifest, shard: Shard, video: bool = False) -> ShardReport:
    """Compare one shard with the manifest and decode every sample of it."""
    report = ShardReport(shard)
    try:
        path = check_shard(root, shard)
    except UserError as error:
        report.add(_without(error, root / shard.features))
        return report
    if sha256_of(path) != shard.sha256:
        report.add(f"its SHA-256 is not the one in {MANIFEST_NAME}")
    index, records = _scan(path, FEATURE_MEMBERS, shard.features, report), {}
    if index is not None:
        report.keys = index.keys
        if len(index) != shard.num_samples:
            report.add(f"it holds {len(index)} samples, {MANIFEST_NAME} says {shard.num_samples}")
        records = _decode_all(root, manifest, replace(shard, num_samples=len(index)), report)
    if video:
        _inspect_video(root, shard, records, report)
    return report


def _scan(path: Path, kinds: tuple[str, ...], where: str, report: ShardReport) -> ShardIndex | None:
    try:
        index = scan(path, kinds)
    except UserError as error:
        report.add(_without(error, path), where=where)
        return None
    for name in index.ignored:
        report.add(f"the entry {name!r} is no regular file and is not read", where=where)
    return index


def _without(error: UserError, path: Path) -> str:
    """The message, which stands behind the shard's name here and need not give it again."""
    return str(error).removeprefix(f"shard {path}").lstrip(": ")


def _decode_all(root: Path, manifest: DatasetManifest, shard: Shard, report: ShardReport) -> dict[str, ClipRecord]:
    """Returns key -> record, of the samples that decode."""

    def note(error: CorruptSampleError) -> None:
        report.add(error.reason, error.key)

    records: dict[str, ClipRecord] = {}
    report.statistics = StatisticsAccumulator(manifest.layout)
    for clip in FeatureShards(root, shard.split, replace(manifest, shards=(shard,)), on_corrupt=note):
        report.statistics.update(clip.motion)
        try:
            typed(ClipRecord, clip.record.to_dict())  # readers look only at what they use
            report.speakers[clip.key] = clip.record.speaker
            records[clip.key] = clip.record
        except ValueError as error:
            report.add(f"its json member: {error}", clip.key)
    frames = report.statistics.count
    if len(report.speakers) == shard.num_samples and frames != shard.num_frames:
        report.add(f"it holds {frames} frames, {MANIFEST_NAME} says {shard.num_frames}")
    return records


def _inspect_video(root: Path, shard: Shard, records: dict[str, ClipRecord], report: ShardReport) -> None:
    name = shard.video
    if name is None:
        report.add("it has no video tar beside it")
        return
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        report.add("the file lies outside the data set; not read", where=name)
        return
    if not path.is_file():
        report.add("the file is missing", where=name)
        return
    if sha256_of(path) != shard.video_sha256:
        report.add(f"its SHA-256 is not the one in {MANIFEST_NAME}", where=name)
    index = _scan(path, VIDEO_MEMBERS, name, report)
    if index is None:
        return
    for position, key in enumerate(index.keys):
        for kind, (first, end) in zip(index.kinds, index.places[position].tolist(), strict=True):
            if end <= first:
                report.add(f"its {kind} member is {'missing' if first < 0 else 'empty'}", key, name)
    _play_all(path, index, records, report)
    for key in report.keys:
        if key not in index.keys:
            report.add("the sample has features and no video", key, name)
    for key in index.keys:
        if key not in report.keys:
            report.add("the sample has a video and no features", key, name)
    if index.keys != report.keys and sorted(index.keys) == sorted(report.keys):
        report.add("its samples are not in the order of the features", where=name)


def _play_all(path: Path, index: ShardIndex, records: dict[str, ClipRecord], report: ShardReport) -> None:
    """Compare the video and the sound of each clip with its record."""
    checks = {"mp4": wrong_video, "flac": wrong_sound}
    with open(path, "rb") as file:
        for position, key in enumerate(index.keys):
            if (record := records.get(key)) is None:
                continue
            for kind, (first, end) in zip(index.kinds, index.places[position].tolist(), strict=True):
                file.seek(max(first, 0))
                if end > first and (problem := checks[kind](file.read(end - first), record.num_frames, record.fps)):
                    report.add(f"its {kind} member {problem}", key, report.shard.video)


def _wrong_in_manifest(root: Path, manifest: DatasetManifest) -> Iterator[Finding]:
    splits_of: dict[str, list[str]] = {}
    for split, speakers in manifest.splits.items():
        if split not in SPLITS:
            yield Finding(MANIFEST_NAME, None, f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        for speaker in speakers:
            splits_of.setdefault(speaker, []).append(split)
    for speaker, splits in splits_of.items():
        if len(splits) > 1:
            yield Finding(MANIFEST_NAME, None, f"speaker {speaker!r} is in more than one split: {', '.join(splits)}")
    specs = (manifest.codec, manifest.codec_fingerprint, manifest.audio_encoder, manifest.audio_fingerprint)
    if manifest.fingerprint != dataset_fingerprint(manifest.shards, *specs):
        yield Finding(MANIFEST_NAME, None, "its fingerprint is not that of the shards and components it names")
    named = [name for shard in manifest.shards for name in (shard.features, shard.video) if name is not None]
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield Finding(MANIFEST_NAME, None, f"it names {name} more than once")
    for shard in manifest.shards:
        if shard.split not in manifest.splits:
            yield Finding(MANIFEST_NAME, None, f"{shard.features} is of split {shard.split!r}, which has no speakers")
    for path in sorted(root.rglob("*.tar")):
        if str(path.relative_to(root)) not in named:
            yield Finding(str(path.relative_to(root)), None, f"the file is not in {MANIFEST_NAME}")


def _repeated_keys(reports: list[ShardReport]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for report in reports:
        for key in report.keys:
            if first.setdefault(key, report.shard.features) != report.shard.features:
                yield Finding(report.shard.features, key, f"the key is also in {first[key]}")


def _misplaced_speakers(manifest: DatasetManifest, reports: list[ShardReport]) -> Iterator[Finding]:
    for report in reports:
        listed = set(manifest.splits.get(report.shard.split, ()))
        for key, speaker in report.speakers.items():
            if speaker not in listed:
                others = [split for split, names in manifest.splits.items() if speaker in names]
                where = f"belongs to {', '.join(others)}" if others else "is in no split"
                yield Finding(report.shard.features, key, f"speaker {speaker!r} {where}, by {MANIFEST_NAME}")


def _wrong_records(root: Path, manifest: DatasetManifest, reports: list[ShardReport]) -> Iterator[Finding]:
    """What is written of the source videos must name the clips that there are, each once."""
    named: set[str] = set()
    for name in manifest.videos:
        if not (root / name).resolve().is_relative_to(root.resolve()) or not (root / name).is_file():
            yield Finding(name, None, f"{MANIFEST_NAME} names the file, and it is not there")
            return
        try:
            lines = (root / name).read_text().splitlines()[1:]
            keys = [clip["key"] for line in lines for clip in json.loads(line)["item"]["clips"]]
        except (ValueError, KeyError, TypeError) as error:
            yield Finding(name, None, f"it is damaged ({error})")
            return
        for key in keys:
            if key in named:
                yield Finding(name, key, "the clip is named twice")
            named.add(key)
    there = {key for report in reports for key in report.keys}
    if manifest.videos:
        yield from (Finding(MANIFEST_NAME, key, "no source video names the clip") for key in sorted(there - named))
        yield from (Finding(MANIFEST_NAME, key, "a source video names the clip, and no shard holds it")
                    for key in sorted(named - there))  # fmt: skip


def _wrong_statistics(manifest: DatasetManifest, reports: list[ShardReport]) -> Iterator[Finding]:
    """Only where the whole train split has been decoded can its statistics be told."""
    parts = {report.shard: report for report in reports if report.shard.split == "train"}
    train = [shard for shard in manifest.shards if shard.split == "train"]
    if not train or any(shard not in parts or len(parts[shard].speakers) < shard.num_samples for shard in train):
        return
    found = StatisticsAccumulator(manifest.layout)
    for part in parts.values():
        assert part.statistics is not None
        found.merge(part.statistics)
    yield from _differences(manifest.statistics, found.result())


def _differences(known: MotionStatistics, found: MotionStatistics) -> Iterator[Finding]:
    if known.count != found.count:
        yield Finding(MANIFEST_NAME, None, f"statistics over {known.count} frames, the train split has {found.count}")
    for name, before, now in (("mean", known.mean, found.mean), ("standard deviation", known.std, found.std)):
        wrong = ~(np.abs(before - now) <= TOLERANCE * found.divisor)  # NaN is wrong too
        if wrong.any():
            worst = int(np.argmax(wrong))
            yield Finding(
                MANIFEST_NAME,
                None,
                f"the {name} of {wrong.sum()} dimensions is not that of the train split, as {known.layout.names[worst]}: "
                f"{before[worst]:.6g} instead of {now[worst]:.6g}",
            )
