"""What became of each source video: kept with the data set, one file for each time that videos were added.

    DATASET/videos-000000.jsonl     first line {"version": 1, "request": {...}}, then one line a video

A file is written once and then sealed by its name in dataset.json. A later line about a video replaces an
earlier one. No place or owner is in it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moda.data.schema import DatasetManifest
from moda.data.typed import typed
from moda.data_prep.items import VideoItem
from moda.data_prep.sources import Labels
from moda.errors import UserError
from moda.files import atomic_path

VERSION = 1
DENIED = "splits.denied"  # in the request: the names that a list has denied, which the list itself may lose


@dataclass(frozen=True)
class VideoRecord:
    """One video: what was read off it, and whose it is.

    digest: names the file (``Source.digest``). pictures: small JPEG files in base64, by clip key, of a few
    clips only; under "" that of a video without a clip, under ``pictures.STRETCH`` those of refused stretches.
    """

    file: str
    digest: str
    item: VideoItem
    labels: Labels
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def clip_pictures(self) -> list[str]:
        """Of the clips that are used."""
        return [self.pictures[clip.key] for clip in self.item.clips if clip.key in self.pictures]

    def to_line(self) -> str:
        value = {
            "file": self.file, "digest": self.digest, "item": self.item.to_dict(), "labels": asdict(self.labels),
            "pictures": dict(self.pictures),
        }  # fmt: skip
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_line(cls, text: str) -> "VideoRecord":
        value = json.loads(text)
        labels = typed(Labels, {**value["labels"], "notes": tuple(value["labels"]["notes"])})
        item = VideoItem.from_dict(value["item"])
        return cls(str(value["file"]), str(value["digest"]), item, labels, dict(value["pictures"]))


def write_records(out: Path, number: int, request: Mapping[str, Any], records: Iterable[VideoRecord]) -> str:
    """Write a file of records; returns its name. request: what the data set was asked to be."""
    name = f"videos-{number:06d}.jsonl"
    with atomic_path(out / name) as temporary, open(temporary, "w") as file:
        file.write(json.dumps({"version": VERSION, "request": request}) + "\n")
        file.writelines(record.to_line() + "\n" for record in records)
    return name


def read_records(root: Path, manifest: DatasetManifest) -> tuple[dict[str, Any], dict[str, VideoRecord]]:
    """(what the data set was asked to be, digest -> record) of a data set; nothing of one that keeps no records.

    Whoever was denied when videos were added is in ``DENIED`` of the request, whichever time it was.
    """
    request: dict[str, Any] = {}
    records: dict[str, VideoRecord] = {}
    denied: set[str] = set()
    for name in manifest.videos:
        asked, found = read_file_of_records(root, name)
        request = request or asked
        denied.update(asked.get(DENIED, ()))
        records.update((record.digest, record) for record in found)
    return (request | {DENIED: sorted(denied)} if request else {}), records


def read_file_of_records(root: Path, name: str) -> tuple[dict[str, Any], list[VideoRecord]]:
    """(what the data set was asked to be, records) of one file; UserError where it is not what ``write_records`` writes."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{root} names {name!r}, outside the data set; refused")
    try:
        with open(path) as file:
            head = json.loads(next(file))
            if head["version"] != VERSION:
                raise UserError(f"{path} is of another version of moda; prepare the data set again")
            return dict(head["request"]), [VideoRecord.from_line(text) for text in file]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error}); copy it again") from error
