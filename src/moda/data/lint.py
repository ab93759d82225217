"""Verifying a data set: every shard (``lint_shard``), and what dataset.json says of them."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from moda.data.lint_shard import Finding, ShardReport, inspect_shard
from moda.data.schema import MANIFEST_NAME, SPLITS, DatasetManifest, Shard
from moda.data.writer import dataset_fingerprint
from moda.data_prep.records import read_file_of_records
from moda.errors import UserError
from moda.motion.statistics import MotionStatistics, StatisticsAccumulator
from moda.progress import progress

TOLERANCE = 1e-5  # of statistics, in standard deviations; shards hold float32


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


def _wrong_in_manifest(root: Path, manifest: DatasetManifest) -> Iterator[Finding]:
    for split in manifest.splits:
        if split not in SPLITS:
            yield Finding(MANIFEST_NAME, None, f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    for speaker, splits in manifest.splits_of().items():
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
    """What is written of the source videos must name the clips that there are, each once, and their speakers."""
    named: set[str] = set()
    speakers = {key: speaker for report in reports for key, speaker in report.speakers.items()}
    for name in manifest.videos:
        if not (root / name).is_file():
            yield Finding(name, None, f"{MANIFEST_NAME} names the file, and it is not there")
            return
        try:
            _, records = read_file_of_records(root, name)
        except UserError as error:
            yield Finding(name, None, str(error).replace(f"{root / name} ", "it "))
            return
        for key, speaker in [(clip.key, record.labels.speaker) for record in records for clip in record.item.clips]:
            if key in named:
                yield Finding(name, key, "the clip is named twice")
            if speakers.get(key, speaker) != speaker:
                yield Finding(name, key, f"the clip is said to be of {speaker!r}, in its shard of {speakers[key]!r}")
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
