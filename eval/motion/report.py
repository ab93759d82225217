"""results.json and the report page: one HTML file that needs nothing beside it."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from moda.errors import UserError
from moda.eval.motion.clips import HeldOutClip
from moda.eval.motion.figures import motion_curves, read_series, training_curves
from moda.eval.motion.protocol import Evaluation
from moda.eval.motion.results import results_of
from moda.eval.motion.rows import ROWS
from moda.eval.motion.showcase import PANELS, make_strips, write_panels
from moda.eval.page import environment, jpeg_url
from moda.eval.tables import UNDEFINED, Cell, Table, number, tables_of
from moda.eval.takes import Take
from moda.files import atomic_path, write_json
from moda.generation.faces import Face
from moda.progress import progress

EMBED_BYTES = 8 << 20  # a larger video stays a file beside the page
CURVE_ROWS = ("ground_truth", "mismatched_audio", "model")
HEADLINE = ("lip_correlation", "jaw_correlation", "lag", "frechet_motion", "real_time_factor_rendered")
PER_CLIP = ("lip_correlation", "jaw_correlation", "lag", "audio_visual_correlation", "lip_range", "smoothness")
SHOWCASES = 2  # examples that are rendered


@dataclass(frozen=True)
class Example:
    """One clip on the page. strips: panel to the data URL of eight frames, empty where nothing could be rendered."""

    clip: HeldOutClip
    why: str
    curves: Markup
    strips: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """The video of the first example that could be rendered; poster is the data URL of one of its frames."""

    example: Example
    path: Path
    poster: str


def write_report(evaluation: Evaluation, out: Path) -> dict[str, Path]:
    """Write results.json, report.html and comparison.mp4 to ``out``; returns what was written by name.

    What cannot be rendered (no video in the data set, no face in a first frame) is noted in both.
    """
    out.mkdir(parents=True, exist_ok=True)
    examples, comparison = _examples(evaluation, out)
    results = results_of(evaluation)
    written = {"results": out / "results.json", "report": out / "report.html"}
    write_json(written["results"], results)
    with atomic_path(written["report"]) as temporary:
        temporary.write_text(_page(evaluation, results, examples, comparison, out))
    return written | ({"comparison": comparison.path} if comparison else {})


def _examples(evaluation: Evaluation, out: Path) -> tuple[list[Example], Comparison | None]:
    clips = {clip.key: clip for clip in evaluation.clips}
    codec = evaluation.codec
    examples, comparison = [], None
    with progress("drawing", len(evaluation.examples), "clips") as advance:
        for number, (key, why) in enumerate(evaluation.examples.items()):
            takes = {row: _take(evaluation, row, key) for row in CURVE_ROWS if row in evaluation.takes}
            face = _face(evaluation, key) if "model" in takes and number < SHOWCASES else None
            strips = make_strips(codec, face, takes["model"]) if face else {}
            curves = motion_curves(clips[key], {ROWS[row].title: take for row, take in takes.items()}) if takes else ""
            pictures = {panel: jpeg_url(strip) for panel, strip in strips.items()}
            examples.append(Example(clips[key], why, Markup(curves), pictures))
            if face and comparison is None:
                path = out / "comparison.mp4"
                poster = write_panels(path, codec, face, clips[key], takes["model"])
                comparison = Comparison(examples[-1], path, jpeg_url(poster))
            advance()
    return examples, comparison


def _face(evaluation: Evaluation, key: str) -> Face | None:
    try:
        return evaluation.faces.of(key)
    except UserError as error:
        evaluation.notes.append(f"{key} is not rendered: {error}")
        return None


def _take(evaluation: Evaluation, row: str, key: str) -> Take:
    """The first take of a clip."""
    return next(takes[0] for takes in evaluation.takes[row] if takes[0].key == key)


def _page(
    evaluation: Evaluation,
    results: Mapping[str, Any],
    examples: list[Example],
    comparison: Comparison | None,
    out: Path,
) -> str:
    run, video = evaluation.protocol.run, evaluation.protocol.video
    series = read_series(run / "metrics.jsonl")
    return (
        environment()
        .get_template("report.html")
        .render(
            name=run.resolve().name,
            results=results,
            headline=_headline(results),
            tables=tables_of(results),
            emphasized=["model"],
            clips=_per_clip(results),
            examples=examples,
            panels=PANELS,
            comparison=comparison,
            compared=_video_source(comparison.path, out) if comparison else None,
            generated=_video_source(video, out) if video else None,
            training=Markup(training_curves(series)) if series else None,
        )
    )


def _headline(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(value, what it is, what to hold it against) of the numbers that a reader wants first."""
    tiles = []
    for name, metric in results["metrics"].items():
        values = {row["title"]: row["scores"].get(name, {}).get("value") for row in results["rows"].values()}
        value = values.pop(ROWS["model"].title, None)
        if name not in HEADLINE or value is None:
            continue
        others = [f"{title} {number(other, metric['digits'])}" for title, other in values.items() if other is not None]
        against = " · ".join(text for text in others if not text.startswith(ROWS["ground_truth"].title))
        title = f"{metric['title']}, {metric['unit']}" if metric["unit"] == "frames" else metric["title"]
        tiles.append((number(value, metric["digits"]), title, against or metric["unit"]))
    return tiles


def _per_clip(results: Mapping[str, Any]) -> Table | None:
    """The model's clips, each with its values, worst lip correlation first."""
    scores = results["rows"].get("model", {}).get("scores", {})
    names = [name for name in PER_CLIP if scores.get(name, {}).get("per_clip")]
    if not names:
        return None
    metrics = [results["metrics"][name] for name in names]
    ranked = sorted(results["clips"], key=lambda clip: scores[names[0]]["per_clip"].get(clip["key"], 2.0))
    rows = [
        (
            clip["key"],
            [
                Cell(number(value, metric["digits"]) if value is not None else UNDEFINED)
                for name, metric in zip(names, metrics, strict=True)
                for value in [scores[name]["per_clip"].get(clip["key"])]
            ],
        )
        for clip in ranked
    ]
    return Table("clip", metrics, rows)


def _video_source(path: Path, out: Path) -> str:
    """The video in the page itself, or where it lies seen from the page."""
    if path.stat().st_size > EMBED_BYTES:
        return quote(os.path.relpath(path, out))
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
