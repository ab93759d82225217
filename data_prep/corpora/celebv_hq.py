"""CelebV-HQ (Zhu et al., ECCV 2022): short clips of celebrities with attributes.

celebvhq_info.json   {"clips": {CLIP: {"ytb_id": ..., "attributes": {"emotion": {"sep_flag": ..., "labels": ...}}}}}
CLIP.mp4             anywhere below the folder
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda.data_prep.corpora.base import entries_by_id, found, labels, read_list, source_of, videos_below
from moda.data_prep.sources import Source
from moda.errors import UserError

LIST = "celebvhq_info.json"


class CelebVHQ:
    name = "celebv_hq"
    licence = "non-commercial research only; the videos are their uploaders', and show real people"

    def find(self, folder: Path) -> list[Source]:
        """All clips of one YouTube video are taken for one speaker's. A clip whose emotion changes has none."""
        videos = videos_below(folder)
        value = read_list(folder, (LIST,))
        if value is None:
            raise UserError(f"source={folder} holds no {LIST}; put it beside the videos, or leave out corpus=")
        entries = entries_by_id(value, LIST)
        sources = []
        for path in videos:
            entry = entries.get(path.stem)
            if entry is not None:
                speaker = str(entry.get("ytb_id") or path.stem)
                sources.append(source_of(folder, path, labels(speaker, _emotion(entry))))
        return found(sources, folder, f"video of {LIST}")


def _emotion(entry: Mapping[str, Any]) -> str | None:
    attributes = entry.get("attributes")
    emotion = attributes.get("emotion") if isinstance(attributes, dict) else None
    if not isinstance(emotion, dict) or emotion.get("sep_flag"):
        return None
    return emotion["labels"] if isinstance(emotion.get("labels"), str) else None
