"""Who must never be trained on: the people of published test sets, by a list of names."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from moda.data_prep.records import VideoRecord
from moda.errors import UserError, first_of


def read_deny_list(path: str | Path) -> frozenset[str]:
    """Names of those who must not be trained on, one a line; what follows a # is a remark.

    A name is a speaker, the path of a video below the source, or the name of its file with or without ending.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"splits.deny={path} cannot be read ({error}); give a text file with a name on each line"
        ) from error
    return frozenset(name for line in lines if (name := line.partition("#")[0].strip()))


def denied_speakers(said: Iterable[VideoRecord], used: Iterable[VideoRecord], deny: frozenset[str]) -> list[str]:
    """Speakers of ``used`` whom the list names, or of whom it names a video, usable or not.

    said: all videos by the names they came with; used: the same ones after files of the same content were left out and
    videos of one face were given one name. Who is denied under a name stays denied under another, and so does whoever
    shows the same content.
    """
    said = list(said)
    speakers = {record.labels.speaker for record in said if deny & _names(record)}
    denied = [record for record in said if record.labels.speaker in speakers]
    files = {record.digest for record in denied}
    contents = {record.item.sha256 for record in denied} - {""}
    return sorted({
        record.labels.speaker
        for record in used
        if record.item.clips and (record.digest in files or record.item.sha256 in contents)
    })  # fmt: skip


def deny_notes(said: Iterable[VideoRecord], deny: frozenset[str], most: int = 5) -> Sequence[str]:
    """What is said of names that match nothing: a list is often longer than a corpus, but a typing error lets train."""
    unknown = sorted(deny.difference(*map(_names, said)))
    if not unknown:
        return []
    return [f"splits.deny names no speaker or video of this corpus with {first_of(unknown, most)}"]


def _names(record: VideoRecord) -> set[str]:
    path = PurePosixPath(record.file)
    return {record.labels.speaker, record.file, path.name, path.stem, str(path.with_suffix(""))}
