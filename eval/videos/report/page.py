"""The report page of videos: one HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from moda.errors import UserError
from moda.eval.page import environment, jpeg_url
from moda.eval.tables import UNDEFINED, number, tables_of
from moda.eval.videos.evaluate import VideoEvaluation
from moda.eval.videos.measure import Item
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import square
from moda.eval.videos.report.figures import sync_curves
from moda.eval.videos.report.footnotes import cautions_of, counts_of
from moda.eval.videos.rows import Row
from moda.generation.contact_sheet import contact_sheet

WORST = 3  # clips shown side by side
MOMENTS = 8  # frames of each
SIDE = 128  # pixels a frame
RANKED_BY = ("sync_c", "lip_landmark_distance", "audio_visual_correlation", "lip_correlation")
LOWER = {"lip_landmark_distance"}


@dataclass(frozen=True)
class Strip:
    """One row's frames of a clip, as a data URL; empty where they cannot be read."""

    title: str
    picture: str


@dataclass(frozen=True)
class Shown:
    """A clip on the page, all rows at the same moments."""

    key: str
    why: str
    strips: list[Strip]


def page_of(evaluation: VideoEvaluation, results: Mapping[str, Any]) -> str:
    """The page as HTML."""
    curves = _curves(evaluation)
    methods = [row["title"] for row in results["rows"].values() if row["kind"] == "method"]
    return (
        environment()
        .get_template("videos.html")
        .render(
            name=" · ".join(methods[:8]),
            results=results,
            tables=tables_of(results),
            emphasized=methods,
            curves=Markup(sync_curves(curves)) if curves else None,
            worst=_worst(evaluation),
            sheets=_sheets(evaluation),
            differences=_differences(results),
            cautions=cautions_of(results),
            used=_used(results),
            per_clip=_per_clip(results),
        )
    )


def _curves(evaluation: VideoEvaluation) -> dict[str, np.ndarray]:
    """Mean sync curve (31,) of each row, all its tracks weighted by their frames."""
    found = {}
    for row in evaluation.rows:
        total, frames = np.zeros(31), 0
        for clip in evaluation.found[row.name]:
            if (arrays := clip.get("sync")) is not None:
                total += (arrays["curves"] * arrays["frames"][:, None]).sum(0)
                frames += int(arrays["frames"].sum())
        if frames:
            found[row.title] = total / frames
    return found


def _worst(evaluation: VideoEvaluation) -> list[Shown]:
    """The clips on which methods fare worst, by the first of ``RANKED_BY`` that is known."""
    methods = [row for row in evaluation.rows if row.kind == "method"]
    for name in RANKED_BY:
        values: dict[str, list[float]] = {}
        for row in methods:
            score = evaluation.scores.rows[row.name].get(name)
            for key, value in (score.per_clip if score else {}).items():
                values.setdefault(key, []).append(value)
        if values:
            ranked = sorted(values, key=lambda key: np.mean(values[key]) * (-1 if name in LOWER else 1))
            title = evaluation.scores.columns[name].title
            return [
                Shown(key, f"mean {title} of the methods {np.mean(values[key]):.2f}", _strips(evaluation.rows, key))
                for key in ranked[:WORST]
            ]
    return []


def _strips(rows: Sequence[Row], key: str) -> list[Strip]:
    wanted = [(row, item) for row in rows for item in row.items if item.key == key and row.name != "mismatched_audio"]
    return [Strip(row.title, _strip(item)) for row, item in wanted]


def _strip(item: Item) -> str:
    try:
        frames = _moments(item)
    except UserError:
        return ""
    return jpeg_url(contact_sheet(frames, columns=MOMENTS, gap=2))


def _moments(item: Item) -> list[np.ndarray]:
    """Evenly spaced frames, the middle square of each."""
    source = open_source(item.video, item.sound)
    wanted = set(np.linspace(0, source.num_frames - 1, MOMENTS).round().astype(int).tolist())
    frames = islice(source.frames(), max(wanted) + 1)
    return [_small(frame) for index, frame in enumerate(frames) if index in wanted]


def _small(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(
        square(frame[top : top + side, left : left + side], side), (SIDE, SIDE), interpolation=cv2.INTER_AREA
    )


def _sheets(evaluation: VideoEvaluation, most: int = 6) -> list[Shown]:
    """A contact sheet of each method: a strip a clip."""
    sheets = []
    for row in evaluation.rows:
        if row.kind == "method":
            sheets.append(Shown(row.title, "", [Strip(item.key, _strip(item)) for item in row.items[:most]]))
    return sheets


def _differences(results: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str, bool]]]]:
    """(two methods, (column, difference, interval, whether it excludes 0) of each column)."""
    found = []
    titles = {name: row["title"] for name, row in results["rows"].items()}
    for pair in results["differences"]:
        lines = []
        for name, metric in results["metrics"].items():
            if name in pair["columns"]:
                difference = pair["columns"][name]
                low, high = difference["interval"]
                text = [number(value, metric["digits"]) for value in (difference["value"], low, high)]
                lines.append((metric["title"], text[0], f"{text[1]} to {text[2]}", low > 0 or high < 0))
        if lines:
            found.append((f"{titles[pair['first']]} − {titles[pair['second']]}", lines))
    return found


def _used(results: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Header and lines of the table of what each row's scores are made of."""
    counts = counts_of(results)
    header = list(dict.fromkeys(what for row in counts.values() for what in row))
    lines = [
        (title, [f"{row[what]:,}" if what in row else UNDEFINED for what in header]) for title, row in counts.items()
    ]
    return header, lines


def _per_clip(results: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Header and lines of the table of clips: every method's values in every column that has clips."""
    columns = [
        name for name in results["metrics"]
        if any(row["scores"].get(name, {}).get("per_clip") for row in results["rows"].values() if row["kind"] == "method")
    ]  # fmt: skip
    lines = []
    for row in results["rows"].values():
        if row["kind"] != "method":
            continue
        keys = sorted({key for name in columns for key in row["scores"].get(name, {}).get("per_clip", {})})
        for key in keys:
            values = [row["scores"].get(name, {}).get("per_clip", {}).get(key) for name in columns]
            digits = [results["metrics"][name]["digits"] for name in columns]
            cells = [UNDEFINED if v is None else number(v, d) for v, d in zip(values, digits, strict=True)]
            lines.append((f"{row['title']} {key}", cells))
    return [results["metrics"][name]["title"] for name in columns], lines
