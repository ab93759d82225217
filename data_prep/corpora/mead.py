"""MEAD (Wang et al., ECCV 2020): 60 actors, eight emotions at three levels, seen from seven sides.

ACTOR/video/VIEW/EMOTION/level_N/NNN.mp4    ACTOR/audio/EMOTION/level_N/NNN.m4a    ACTOR is M003, W009, ...
"""

import re
from pathlib import Path, PurePosixPath

from moda.data_prep.corpora.base import EMOTION_NAMES, found, labels, source_of, videos_below
from moda.data_prep.sources import Source

ACTOR, LEVEL = re.compile(r"[MW]\d{3}"), re.compile(r"level_([123])")
VIEW = "front"
SOUNDS = (".m4a", ".wav", ".aac", ".mp3")


class MEAD:
    name = "mead"
    licence = "research only, by an agreement with its makers"

    def find(self, folder: Path) -> list[Source]:
        """The views from the front, with the sound that lies in a folder of its own. Level N of 3 is intensity N / 3."""
        sources = []
        for path in videos_below(folder):
            parts = PurePosixPath(path.relative_to(folder).as_posix()).parts
            if len(parts) < 6 or parts[-4] != VIEW or parts[-5] != "video":
                continue
            actor, emotion, level = parts[-6], parts[-3], LEVEL.fullmatch(parts[-2])
            if not ACTOR.fullmatch(actor) or level is None or emotion not in EMOTION_NAMES:
                continue
            beside = path.parents[4] / "audio" / emotion / parts[-2]
            sound = next((file for ending in SOUNDS if (file := beside / f"{path.stem}{ending}").is_file()), None)
            sources.append(source_of(folder, path, labels(actor, emotion, round(int(level[1]) / 3, 3)), sound))
        return found(sources, folder, "ACTOR/video/front/EMOTION/level_N/NNN.mp4")
