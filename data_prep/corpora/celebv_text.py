"""CelebV-Text (Yu et al., CVPR 2023): 70,000 clips of faces with descriptions.

celebvtext_info.json   {"clips": {CLIP: {"ytb_id": ...}}}
CLIP.mp4               anywhere below the folder; CLIP is YOUTUBE-ID_NUMBER[_NUMBER]
"""

import re
from pathlib import Path

from moda.data_prep.corpora.base import entries_by_id, found, labels, read_list, source_of, videos_below
from moda.data_prep.sources import Source

LIST = "celebvtext_info.json"
NAME = re.compile(r"(?P<video>.{11})(?:_\d+)+")  # an id of YouTube has eleven characters


class CelebVText:
    name = "celebv_text"
    licence = "non-commercial research only; the videos are their uploaders', and show real people"

    def find(self, folder: Path) -> list[Source]:
        """All clips of one YouTube video are taken for one speaker's; where the list has no id, it is that in the name."""
        videos = videos_below(folder)
        value = read_list(folder, (LIST,))
        entries = {} if value is None else entries_by_id(value, LIST)
        sources = []
        for path in videos:
            match = NAME.fullmatch(path.stem)
            listed = path.stem in entries
            if listed or match:
                told = entries[path.stem].get("ytb_id") if listed else None
                speaker = told or (match["video"] if match else path.stem)
                sources.append(source_of(folder, path, labels(str(speaker))))
        return found(sources, folder, f"video of {LIST}, or called YOUTUBE-ID_NUMBER.mp4")
