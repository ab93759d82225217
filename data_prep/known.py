"""The data set that a preparation adds to, and which videos it does not hold yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moda.data.schema import MANIFEST_NAME, DatasetManifest
from moda.data_prep.items import VideoItem
from moda.data_prep.networks import STAGES
from moda.data_prep.records import DENIED, VideoRecord, read_records
from moda.data_prep.sources import Source
from moda.data_prep.tasks import WORK, is_same
from moda.errors import UserError

# a data set that grows need not keep to these; which networks are used is told by their fingerprints
MAY_DIFFER = ("limit", "shard_size", "splits.pinned", "splits.deny", "networks.")
FINGERPRINT = "_fingerprint"


@dataclass(frozen=True)
class Known:
    """The data set that stands at ``out`` already, or nothing. denied: names that ``splits.deny`` has ever given it."""

    manifest: DatasetManifest | None
    records: Mapping[str, VideoRecord]  # by digest
    denied: frozenset[str] = frozenset()

    def holds(self, digest: str, item: VideoItem) -> bool:
        """Whether ``item`` is what the data set says of the video."""
        return digest in self.records and self.records[digest].item.sha256 == item.sha256

    def holds_file(self, source: Source) -> bool:
        """Whether the data set says of the video what it is now."""
        return source.digest in self.records and is_same(source, self.records[source.digest].item)


def known_at(out: Path, request: Mapping[str, Any]) -> Known:
    """What is at ``out``; a UserError if a run may neither begin nor go on there."""
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; give a folder")
    if not (out / MANIFEST_NAME).is_file():
        if out.is_dir() and not (out / WORK).is_dir() and any(out.iterdir()):
            raise UserError(f"out={out} is not empty and holds no data set; give an empty or a new folder")
        return Known(None, {})
    manifest = DatasetManifest.load(out)
    before, records = read_records(out, manifest)
    if not before:
        raise UserError(f"out={out} holds a data set that keeps no records of its videos; give another out=")
    if changes := _changes(before, request):
        raise UserError(f"out={out} already holds a data set, made with other settings: {', '.join(changes)}; "
                        "give another out= or delete it")  # fmt: skip
    return Known(manifest, records, frozenset(before[DENIED]))


def _changes(before: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    """What is asked for otherwise than before, and which networks are used now or then alone."""
    kept = {name: None for name in before if name.endswith(FINGERPRINT)} | dict(request)
    differing = [name for name in kept if before.get(name) != request.get(name) and not name.startswith(MAY_DIFFER)]
    changes = []
    for name in differing:
        kind = name.removesuffix(FINGERPRINT)
        if kind != name and kind in differing:  # another component has another fingerprint: say it once
            continue
        change = f"{name} was {before.get(name)!r:.60}, now {request.get(name)!r:.60}"
        if kind in STAGES:
            change += f" (moda weights get, or networks.{kind}=none)"
        changes.append(change)
    return changes


def missing_of(sources: Sequence[Source], known: Known, limit: int | None = None) -> list[Source]:
    """Of the first ``limit`` videos those that the data set does not know, or knows only as unusable in another state."""
    missing, changed = [], []
    for source in sources[:limit]:
        record = known.records.get(source.digest)
        if record is None:
            missing.append(source)
        elif not is_same(source, record.item):
            (changed if record.item.clips else missing).append(source)
    if changed:
        print(f"changed since they were read, and kept as they were: {len(changed)} videos, as {changed[0].name}")
    there = {source.digest for source in sources}
    gone = [record for digest, record in known.records.items() if digest not in there and record.item.clips]
    if gone:
        print(f"no longer in the source, and kept: {len(gone)} videos, as {gone[0].file}")
    return missing
