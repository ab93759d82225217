"""What stands under the tables: what each row rests on, what it is missing and why, and which numbers to doubt."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moda.errors import first_of

REASONS, CLIPS = 4, 3  # told of a row, and of a reason; the rest is in results.json
COLUMNS = 6  # told of a caution
NUMBER = re.compile(r"\d+")


def counts_of(results: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Title of a row -> its clips, frames, clips left out, and what else its scores are made of."""
    found = {}
    for row in results["rows"].values():
        counts = {"clips": row["clips_used"], "frames": row["frames_used"], "left out": row["clips_left_out"]}
        for name, score in row["scores"].items():
            if "tracks" in score["n_of"]:
                counts["face tracks"] = score["n_of"]["tracks"]
            if "features" in score["n_of"]:
                counts[f"features of {results['metrics'][name]['title']}"] = score["n_of"]["features"]
        found[row["title"]] = counts
    return found


def cautions_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(caution, the columns and rows it is about), each said once: those that differ in counts alone are one."""
    found: dict[str, list[str]] = {}
    where: dict[str, list[str]] = {}
    for row in results["rows"].values():
        for name, score in row["scores"].items():
            for caution in score["caution"].splitlines():
                kind = NUMBER.sub("#", caution)
                found.setdefault(kind, []).append(caution)
                where.setdefault(kind, []).append(f"{row['title']}: {results['metrics'][name]['title']}")
    return [(_ranged(cautions), first_of(where[kind], COLUMNS)) for kind, cautions in found.items()]


def _ranged(texts: Sequence[str]) -> str:
    """Texts of one kind as one, with "3 to 11" where they have several numbers."""
    columns = iter(zip(*(map(int, NUMBER.findall(text)) for text in texts), strict=True))

    def span(_: re.Match[str]) -> str:
        numbers = next(columns)
        low, high = min(numbers), max(numbers)
        return f"{low}" if low == high else f"{low} to {high}"

    return NUMBER.sub(span, texts[0])


def footnotes(results: Mapping[str, Any]) -> list[str]:
    """A line a row, and one a caution."""
    lines = [_used(title, counts) + _missing(results, title) for title, counts in counts_of(results).items()]
    lines += [f"caution: {caution} ({where})" for caution, where in cautions_of(results)]
    return [" ".join(line.split()) for line in lines]  # as a comment it may not end early


def _used(title: str, counts: Mapping[str, int]) -> str:
    """As "model: clips 9 of 10, frames 2,700, face tracks 9"."""
    others = [f"{what} {count:,}" for what, count in counts.items() if what not in ("clips", "left out")]
    whole = f" of {counts['clips'] + counts['left out']}" if counts["left out"] else ""
    return f"{title}: clips {counts['clips']}{whole}, {', '.join(others)}"


def _missing(results: Mapping[str, Any], title: str) -> str:
    """Clips that the row lacks, from all columns or from the one that the reason names."""
    clips: dict[str, list[str]] = {}
    for item in results["left_out"]:
        if item["row"] == title:
            clips.setdefault(item["reason"], []).append(item["what"])
    told = [f"{first_of(keys, CLIPS)} ({reason})" for reason, keys in clips.items()][:REASONS]
    more = [f"{len(clips) - REASONS} more reasons in results.json"] if len(clips) > REASONS else []
    return f"; missing: {'; '.join([*told, *more])}" if told else ""
