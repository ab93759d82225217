"""Who is who over a whole corpus, by face: speakers that are one person, and people in two splits.

Cost: one distance for each pair of a new video and a known person.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from moda.data_prep.records import VideoRecord

# of the distance at which two pictures are taken for two people's: the mean over a clip is surer than one picture
SURE = 0.85


def join_speakers(records: Sequence[VideoRecord], known: Iterable[VideoRecord], apart: float) -> list[VideoRecord]:
    """``records`` with one speaker for all videos of one face, named after the first of them.

    known: records that keep their speakers, whom new videos may join. apart: distance of two people. A video
    without an embedding keeps its own speaker. Videos are taken in order, each by the nearest person known so far
    (leader clustering about running means), so a corpus of any size is gone through once; those whose speaker a
    sidecar names come first, and keep it.
    """
    people = centroids(known)
    names: dict[str, str] = {}
    for record in sorted(records, key=lambda record: not record.labels.named):
        name = record.labels.speaker
        face = _mean([clip.face for clip in record.item.clips if clip.face])
        if face is not None:
            name = name if record.labels.named else nearest(face, people, SURE * apart) or name
            mean, count = people.get(name, (face, 0))
            people[name] = ((mean * count + face) / (count + 1), count + 1)
        names[record.digest] = name
    return [replace(record, labels=replace(record.labels, speaker=names[record.digest])) for record in records]


def alike_across(
    records: Iterable[VideoRecord], splits: Mapping[str, Sequence[str]], apart: float
) -> list[tuple[str, str]]:
    """Pairs (speaker of train, speaker of val or test) whose faces are taken for one person's."""
    people = {name: mean for name, (mean, _) in centroids(records).items()}
    training = {name: people[name] for name in splits.get("train", ()) if name in people}
    held_out = [name for split, names in splits.items() if split != "train" for name in names if name in people]
    if not training:
        return []
    names, means = list(training), np.stack(list(training.values()))
    pairs = []
    for name in held_out:
        distances = np.linalg.norm(means - people[name], axis=1)
        pairs += [(names[index], name) for index in np.flatnonzero(distances < SURE * apart)]
    return pairs


def alike_notes(pairs: Iterable[tuple[str, str]], most: int = 5) -> list[str]:
    """What is said of the pairs of ``alike_across``: a line for each held-out speaker, ``most`` of them, then their number."""
    twins: dict[str, list[str]] = {}
    for train, held_out in pairs:
        twins.setdefault(held_out, []).append(train)
    lines = []
    for held_out, found in list(twins.items())[:most]:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        lines.append(
            f"{found[0]}{others} (train) and {held_out} (held out) look like one person; "
            "pin them to one split, or use speaker_from=face"
        )
    if len(twins) > most:
        lines.append(f"{len(twins) - most} more held-out speakers look like speakers of train")
    return lines


def centroids(records: Iterable[VideoRecord]) -> dict[str, tuple[np.ndarray, int]]:
    """Speaker -> (mean embedding, number of videos) of those whose faces are known."""
    faces: dict[str, list[np.ndarray]] = {}
    for record in records:
        face = _mean([clip.face for clip in record.item.clips if clip.face])
        if face is not None:
            faces.setdefault(record.labels.speaker, []).append(face)
    return {name: (np.mean(members, axis=0), len(members)) for name, members in faces.items()}


def nearest(face: np.ndarray, people: Mapping[str, tuple[np.ndarray, int]], within: float) -> str | None:
    """The person whose mean lies nearest to ``face``, if it is near enough."""
    if not people:
        return None
    names = list(people)
    distances = np.linalg.norm(np.stack([people[name][0] for name in names]) - face, axis=1)
    best = int(distances.argmin())
    return names[best] if distances[best] < within else None


def _mean(faces: list[list[float]]) -> np.ndarray | None:
    return np.mean(np.array(faces, np.float64), axis=0) if faces else None
