"""Which files are videos, who speaks in them, and what their clips are called."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from moda.data.schema import EMOTIONS, check_intensity, check_key
from moda.errors import UserError, first_of
from moda.files import read_json

VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".3gp", ".flv", ".wmv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
)  # fmt: skip
SPEAKER_FROM = ("parent", "top", "file", "face")


@dataclass(frozen=True)
class Labels:
    """What is said of a video beside it; ``notes`` tell what was wrong with that.

    intensity: of the emotion, 0 to 1, None where nothing is said. named: whether a sidecar names the speaker, which
    nothing else then does.
    """

    speaker: str
    emotion: str | None = None
    intensity: float | None = None
    notes: tuple[str, ...] = ()
    named: bool = False


@dataclass(frozen=True)
class Source:
    """A video file. ``relative`` is its path below the source folder, with ``/``.

    labels: what a corpus' own lists say of it; None where folders and a sidecar file say it. sound: the file that
    its sound is in, where that is another one.
    """

    path: Path
    relative: str
    labels: Labels | None = None
    sound: Path | None = None

    @property
    def name(self) -> str:
        """``relative`` fit to be printed and stored: every character that is not printable replaced."""
        return printable(self.relative)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the relative path."""
        return hashlib.sha256(os.fsencode(self.relative)).hexdigest()[:16]

    @property
    def sidecar(self) -> Path:
        """Where a JSON file with labels may lie."""
        return self.path.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes of the file, 0 where there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def key(self, number: int) -> str:
        """Sample key of clip ``number``: readable, safe as a file name, and apart from every other key."""
        stem = str(PurePosixPath(self.relative).with_suffix(""))
        readable = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[-80:] or "clip"
        return check_key(f"{readable}-{number:04d}-{self.digest[:12]}")


def find_sources(folder: Path) -> list[Source]:
    """Every video below ``folder``, in order of name; hidden files and folders are passed over.

    Raises UserError when the folder is missing or holds no video.
    """
    if not folder.is_dir():
        raise UserError(f"source={folder} is not a folder; give the folder that holds the videos")
    found = [Source(path, path.relative_to(folder).as_posix()) for path in video_files(folder)]
    if not found:
        raise UserError(f"source={folder} holds no video; files ending in {', '.join(VIDEO_SUFFIXES)} are looked for")
    return found


def passed_over(folder: Path, sources: Iterable[Source], most: int = 3) -> list[str]:
    """What is said of videos that lie among ``sources`` and do not belong to their corpus."""
    used = {source.path for source in sources}
    names = [printable(path.relative_to(folder).as_posix()) for path in video_files(folder) if path not in used]
    return [f"{len(names)} videos are not named as this corpus has them: {first_of(names, most)}"] if names else []


def video_files(folder: Path) -> list[Path]:
    """Paths of the videos below ``folder``, in order of name."""
    return sorted(_walk(folder), key=os.fsencode)


def _walk(folder: Path) -> Iterator[Path]:
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:  # a link that leads back up
            folders.clear()
            continue
        entered.add(real)
        # in order, so that of two ways to one folder the same one is always gone
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=os.fsencode)
        for name in files:
            path = Path(here, name)
            if path.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield path


def read_labels(source: Source, speaker_from: str = "parent") -> Labels:
    """Speaker and emotion of a video: what its corpus says, else what folders and a sidecar say.

    A JSON file of the same name beside the video may hold "speaker", "emotion" (one of ``EMOTIONS``)
    and "emotion_intensity" (0 is neutral, 1 the emotion in full). Without a speaker there, ``speaker_from``
    decides: ``parent`` takes the folder that the video lies in, ``top`` the first folder below the source,
    ``file`` the file's own name; a video directly in the source folder is its own speaker. ``face`` begins
    as ``file`` does, and joins the speakers whose faces are alike when all videos have been read. A wrong
    value is noted and left out.
    """
    if source.labels is not None:
        return source.labels
    folders = PurePosixPath(source.relative).parts[:-1]
    if not folders or speaker_from in ("file", "face"):
        speaker = str(PurePosixPath(source.relative).with_suffix(""))
    else:
        speaker = folders[0] if speaker_from == "top" else "/".join(folders)
    sidecar = source.sidecar
    if not sidecar.is_file():
        return Labels(printable(speaker))
    try:
        value = read_json(sidecar)
    except (UserError, OSError) as error:
        return Labels(printable(speaker), notes=(f"sidecar {printable(sidecar.name)} was not read: {error}",))
    if not isinstance(value, dict):
        note = f"sidecar {printable(sidecar.name)} was not used: it holds no JSON object"
        return Labels(printable(speaker), notes=(note,))
    return _from_sidecar(printable(speaker), value)


def _from_sidecar(speaker: str, value: dict[str, Any]) -> Labels:
    emotion, intensity, notes, named = None, None, [], False
    if (given := value.get("speaker")) is not None:
        if isinstance(given, str) and 0 < len(given.strip()) <= 128:
            speaker, named = printable(given.strip()), True
        else:
            notes.append(f"sidecar speaker {given!r:.60} was not used: it must be a name of 1 to 128 characters")
    if (given := value.get("emotion")) is not None:
        if given in EMOTIONS:
            emotion = given
        else:
            notes.append(f"sidecar emotion {given!r:.60} is unknown and was left out; known: {', '.join(EMOTIONS)}")
    if (given := value.get("emotion_intensity")) is not None:
        try:
            intensity = check_intensity(given)
        except UserError as error:
            notes.append(f"sidecar {error}; it was left out")
        if emotion is None:
            intensity = None
            notes.append("sidecar emotion_intensity was not used: there is no emotion beside it")
    return Labels(speaker, emotion, intensity, tuple(notes), named)


def state_of(path: Path) -> str:
    """Size and time of change of a file, by which it is recognised; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def printable(text: str) -> str:
    """``text`` with everything that could disturb a terminal or an encoder replaced by U+FFFD."""
    return "".join(character if character.isprintable() else "�" for character in text)
