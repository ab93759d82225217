"""Dividing speakers among train, val, test and expert."""

import hashlib
from collections.abc import Iterable, Mapping
from math import inf

from moda.data.schema import SPLITS
from moda.errors import UserError


def split_speakers(
    speakers: Iterable[str],
    val: float = 0.1,
    test: float = 0.1,
    pinned: Mapping[str, Iterable[str]] | None = None,
    seed: int = 0,
    expert: float = 0.0,
    before: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, list[str]]:
    """Assign every speaker to one split; returns split -> sorted speakers, empty splits left out.

    val, test, expert: a share of the speakers below 1, or a number of them from 1 on. With three speakers or
    more a share above 0 gives at least one, and one always stays in train; with fewer, all of them
    are trained on, as nothing can be held out.
    pinned: split -> speakers that belong there whatever the shares say; they count towards them.
    before: split -> speakers of a data set that grows; they stay where they are.
    The others are ranked by a hash of ``seed`` and name, so that the order of files does not matter.
    """
    speakers = sorted(set(speakers))
    chosen = _pins(pinned or {}, speakers)
    for split, names in (before or {}).items():
        for name in names:
            if chosen.setdefault(name, split) != split:
                raise UserError(
                    f"speaker {name!r} is in the shards of {split} already and cannot go to {chosen[name]}, "
                    "as splits.pinned or splits.deny asks; prepare the data set anew, elsewhere"
                )
    free = [speaker for speaker in speakers if speaker not in chosen]
    free.sort(key=lambda speaker: hashlib.sha256(f"{seed}:{speaker}".encode()).digest())
    shares = {"test": test, "val": val, "expert": expert}  # in this order, so that the last one changes no other
    held_out = {split: _count(wanted, split, len(speakers)) for split, wanted in shares.items()}
    for split, wanted in held_out.items():
        while list(chosen.values()).count(split) < wanted and free:
            if len(free) == 1 and "train" not in chosen.values():
                break  # the last one left trains
            chosen[free.pop()] = split
    chosen |= dict.fromkeys(free, "train")
    if speakers and "train" not in chosen.values():
        raise UserError("splits.pinned leaves no speaker to train on; pin fewer of them to the others")
    found = {split: sorted(s for s in speakers if chosen[s] == split) for split in SPLITS}
    return {split: names for split, names in found.items() if names}


def _pins(pinned: Mapping[str, Iterable[str]], speakers: list[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for split, names in pinned.items():
        if split not in SPLITS:
            raise UserError(f"splits.pinned.{split}: there is no such split; known: {', '.join(SPLITS)}")
        for name in names:
            if chosen.get(name, split) != split:
                raise UserError(f"speaker {name!r} is pinned to {chosen[name]} and to {split}; keep one")
            if name not in speakers:
                raise UserError(
                    f"splits.pinned.{split} names {name!r}, of whom there is no usable clip; speakers: {_some(speakers)}"
                )
            chosen[name] = split
    return chosen


def _count(wanted: float, split: str, speakers: int) -> int:
    """Number of speakers for a share or a number."""
    if not 0 <= wanted < inf or (wanted >= 1 and wanted != int(wanted)):
        raise UserError(f"splits.{split}={wanted} must be a share from 0 to 1 or a whole number of speakers")
    if speakers < 3 or wanted == 0:
        return 0
    return int(wanted) if wanted >= 1 else max(1, round(wanted * speakers))


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
