"""TalkVid (Chen et al., 2025): 1,200 hours of talking heads of many languages, cut from YouTube.

filtered_video_clips*.json   [{"id": CLIP, "info": {"Person ID": ..., "Language": ...}, ...}]
CLIP.mp4                     anywhere below the folder
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moda.data_prep.corpora.base import found, labels, source_of, videos_below
from moda.data_prep.sources import Source
from moda.errors import UserError
from moda.files import read_json

LISTS = "filtered_video_clips*.json"


class TalkVid:
    name = "talkvid"
    licence = "CC BY-NC 4.0 for the annotations; the videos are their uploaders', and show real people"

    def find(self, folder: Path) -> list[Source]:
        """Speakers are the list's own "Person ID"; a clip without one is its own speaker."""
        videos = videos_below(folder)
        entries = dict(_entries(folder))
        if not entries:
            raise UserError(f"source={folder} holds no {LISTS}; put it beside the videos, or leave out corpus=")
        sources = []
        for path in videos:
            entry = entries.get(path.stem)
            if entry is not None:
                told = entry.get("info")
                person = told.get("Person ID") if isinstance(told, dict) else None
                sources.append(source_of(folder, path, labels(f"person {person}" if person is not None else path.stem)))
        return found(sources, folder, f"video of {LISTS}")


def _entries(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in (*sorted(folder.glob(LISTS)), *sorted(folder.glob(f"*/{LISTS}"))):
        value = read_json(path)
        if not isinstance(value, list):
            raise UserError(f"{path} is not a list of clips; get it again from the makers of the corpus")
        yield from ((str(entry["id"]), entry) for entry in value if isinstance(entry, dict) and "id" in entry)
