"""What an adapter of a corpus fills, and what several of them share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from moda.data_prep.sources import Labels, Source, printable, video_files
from moda.errors import UserError
from moda.files import read_json

# names that corpora use, to MoDA's; "calm" is told from neutral by its makers alone
EMOTION_NAMES = {
    "neutral": "neutral", "calm": "neutral", "happy": "happiness", "happiness": "happiness", "sad": "sadness",
    "sadness": "sadness", "angry": "anger", "anger": "anger", "fear": "fear", "fearful": "fear",
    "disgust": "disgust", "disgusted": "disgust", "contempt": "contempt", "surprise": "surprise",
    "surprised": "surprise",
}  # fmt: skip


class Corpus(Protocol):
    """A published corpus. licence: what its makers say of its use, and of whose likeness it shows."""

    name: str
    licence: str

    def find(self, folder: Path) -> list[Source]:
        """Its videos below ``folder`` with their labels, in order of name; UserError where it is not this corpus."""
        ...


def videos_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"source={folder} is not a folder; give the folder that holds the corpus")
    return video_files(folder)


def source_of(folder: Path, path: Path, labels: Labels, sound: Path | None = None) -> Source:
    return Source(path, path.relative_to(folder).as_posix(), labels, sound)


def labels(speaker: str, emotion: str | None = None, intensity: float | None = None, *notes: str) -> Labels:
    """With the emotion's name as MoDA has it; one that it does not have is left out."""
    known = EMOTION_NAMES.get(emotion.lower()) if emotion else None
    return Labels(printable(speaker), known, intensity if known else None, notes)


def found(sources: list[Source], folder: Path, layout: str) -> list[Source]:
    if not sources:
        raise UserError(f"source={folder} holds no {layout}; give the folder of this corpus, or leave out corpus=")
    return sources


def read_list(folder: Path, names: tuple[str, ...]) -> Any | None:
    """The first of the JSON files ``names`` that stands in ``folder`` or one level below it; None without any."""
    for name in names:
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if path.is_file():
                return read_json(path)
    return None


def entries_by_id(value: Any, where: str) -> Mapping[str, Mapping[str, Any]]:
    """Clips of a list as CelebV's: {"clips": {id: {...}}}."""
    clips = value.get("clips") if isinstance(value, dict) else None
    if not isinstance(clips, dict):
        raise UserError(f"{where} holds no clips; get it again from the makers of the corpus")
    return {name: entry for name, entry in clips.items() if isinstance(entry, dict)}
