"""TalkVid (Chen et al., 2025): 1,200 hours of talking heads of many languages, cut from YouTube.

filtered_video_clips*.json   [{"id": CLIP, "start-time": ..., "end-time": ..., "info": {"Person ID": ...,
                             "Video Link": "https://www.youtube.com/watch?v=VIDEO", ...}, ...}]
VIDEO/VIDEO_NNN_START_END.mp4    as its makers' script names clips, anywhere below the folder; START and END in seconds
CLIP.mp4                         as mirrors name them
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda.data_prep.corpora.base import found, labels, source_of, videos_below
from moda.data_prep.sources import Source
from moda.errors import UserError
from moda.files import read_json

LISTS = "filtered_video_clips*.json"
NAME = re.compile(r"(?P<video>.+)_(?:\d+|NA)_(?P<start>\d+\.\d+)_(?P<end>\d+\.\d+)")
LINK = re.compile(r"(?:watch\?v=|youtu\.be/|/shorts/)(?P<video>[^&?/]+)")
CLOSE = 0.01  # seconds: times are written to three places, cut or rounded

Entry = Mapping[str, Any]
Span = tuple[float, float, Entry]  # seconds of the YouTube video


class TalkVid:
    name = "talkvid"
    licence = "CC BY-NC 4.0 for the annotations; the videos are their uploaders', and show real people"

    def find(self, folder: Path) -> list[Source]:
        """Speakers are the list's own "Person ID"; a clip without one is its own speaker."""
        videos = videos_below(folder)
        entries = _entries(folder)
        if not entries:
            raise UserError(f"source={folder} holds no {LISTS}; put it beside the videos, or leave out corpus=")
        by_id = {str(entry["id"]): entry for entry in entries if "id" in entry}
        spans = _spans(entries)
        sources = []
        for path in videos:
            entry = by_id.get(path.stem) or _at(path.stem, spans)
            if entry is not None:
                person = _told(entry).get("Person ID")
                sources.append(source_of(folder, path, labels(f"person {person}" if person is not None else path.stem)))
        return found(sources, folder, f"video of {LISTS}")


def _entries(folder: Path) -> list[Entry]:
    entries: list[Entry] = []
    for path in (*sorted(folder.glob(LISTS)), *sorted(folder.glob(f"*/{LISTS}"))):
        value = read_json(path)
        if not isinstance(value, list):
            raise UserError(f"{path} is not a list of clips; get it again from the makers of the corpus")
        entries += [entry for entry in value if isinstance(entry, dict)]
    return entries


def _spans(entries: list[Entry]) -> dict[str, list[Span]]:
    """YouTube video -> its clips."""
    spans: dict[str, list[Span]] = {}
    for entry in entries:
        link = LINK.search(str(_told(entry).get("Video Link")))
        start, end = entry.get("start-time"), entry.get("end-time")
        if link and isinstance(start, int | float) and isinstance(end, int | float):
            spans.setdefault(link["video"], []).append((float(start), float(end), entry))
    return spans


def _at(stem: str, spans: Mapping[str, list[Span]]) -> Entry | None:
    """The entry of a file that is named by its video and its times."""
    match = NAME.fullmatch(stem)
    if match is None:
        return None
    start, end = float(match["start"]), float(match["end"])
    near = (entry for a, b, entry in spans.get(match["video"], ()) if max(abs(a - start), abs(b - end)) < CLOSE)
    return next(near, None)


def _told(entry: Entry) -> Mapping[str, Any]:
    info = entry.get("info")
    return info if isinstance(info, dict) else {}
