"""What is wrong with one shard of a data set, and with the video tar beside it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from moda.data.index import ShardIndex, scan
from moda.data.media_check import wrong_sound, wrong_video
from moda.data.schema import FEATURE_MEMBERS, MANIFEST_NAME, VIDEO_MEMBERS, ClipRecord, DatasetManifest, Shard
from moda.data.shards import CorruptSampleError, FeatureShards, check_shard
from moda.data.typed import typed
from moda.errors import UserError
from moda.files import sha256_of
from moda.motion.statistics import StatisticsAccumulator


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
