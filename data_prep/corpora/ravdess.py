"""RAVDESS (Livingstone and Russo, 2018): 24 actors, eight emotions, two sentences, spoken and sung.

Actor_NN/MM-CC-EE-II-SS-RR-AA.mp4, also below other folders: modality, channel, emotion, intensity, sentence,
repetition, actor
"""

import re
from pathlib import Path

from moda.data_prep.corpora.base import found, labels, source_of, videos_below
from moda.data_prep.sources import Source

NAME = re.compile(r"01-01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-\d\d-\d\d-(?P<actor>\d\d)")  # with sound, spoken
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES = {"01": 0.5, "02": 1.0}  # normal, strong


class RAVDESS:
    name = "ravdess"
    licence = "CC BY-NC-SA 4.0"

    def find(self, folder: Path) -> list[Source]:
        """Speech with sound and picture (modality 01, channel 01); songs and silent copies are passed over."""
        sources = []
        for path in videos_below(folder):
            if match := NAME.fullmatch(path.stem):
                emotion = EMOTIONS[int(match["emotion"]) - 1]
                told = labels(f"Actor_{match['actor']}", emotion, INTENSITIES[match["intensity"]])
                sources.append(source_of(folder, path, told))
        return found(sources, folder, "video called 01-01-EE-II-SS-RR-AA.mp4")
