"""HDTF (Zhang et al., CVPR 2021): talking heads of politicians and radio guests, cut from YouTube.

SUBSET_NAME_NNN.mp4, anywhere below the folder; SUBSET is RD, WDA or WRA
"""

import re
from pathlib import Path

from moda.data_prep.corpora.base import found, labels, source_of, videos_below
from moda.data_prep.sources import Source

NAME = re.compile(r"(?:hdtf_)?(?P<subset>RD|WDA|WRA)_(?P<name>.+?)(?P<video>\d*)(?:_(?P<clip>\d+))*$", re.IGNORECASE)


class HDTF:
    name = "hdtf"
    licence = "CC BY 4.0 for the annotations; the videos are their uploaders', and show real people"

    def find(self, folder: Path) -> list[Source]:
        """Speakers are the names in the file names. NameN is the N-th video of a politician, and in RD of anybody:
        there each is a speaker of its own. Names that differ by capitals alone are one, as the first has it."""
        sources: list[Source] = []
        spelling: dict[str, str] = {}
        for path in videos_below(folder):
            match = NAME.fullmatch(path.stem)
            if match:
                subset = match["subset"].upper()
                speaker = f"{subset}_{match['name']}{match['video'] if subset == 'RD' else ''}"
                speaker = spelling.setdefault(speaker.casefold(), speaker)
                sources.append(source_of(folder, path, labels(speaker)))
        return found(sources, folder, "video called RD_NAME_000.mp4, WDA_NAME_000.mp4 or WRA_NAME_000.mp4")
