"""Evaluations of many trainings in one table: a variant a row, over its seeds and the clips."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moda.errors import UserError
from moda.eval.intervals import two_way_interval
from moda.eval.page import environment
from moda.eval.tables import UNDEFINED, markdown_of_rows, number, tables_of

# What has to be the same for numbers to stand in one table; steps, guidance and the like are what varies.
SAME = ("version", "split", "span", "seed")
NORMAL = 1.96  # of a 95 % interval

Results = Mapping[str, Any]  # of one evaluation, as results.json holds them
Variants = Mapping[str, Sequence[Results]]  # name to those of its seeds
Change = tuple[str, str, bool]  # difference, its interval, whether that leaves 0 out


def merge(variants: Variants, baselines: Results | None = None) -> dict[str, Any]:
    """Rows of baselines and variants by columns, in the form of a results.json.

    Of a variant the row ``model`` counts; those of ``baselines`` stand first. Raises UserError where clips or protocol
    differ.
    """
    every = [result for results in variants.values() for result in results] + ([baselines] if baselines else [])
    _require_alike(every)
    rows = dict(baselines["rows"]) if baselines else {}
    for name, results in variants.items():
        rows[name] = {"title": name, "scores": combined(results), "seeds": len(results)}
    metrics = {name: metric for result in every for name, metric in result["metrics"].items()}
    notes = list(dict.fromkeys(note for result in every for note in result["notes"]))
    return {
        "metrics": metrics,
        "rows": rows,
        "clips": every[0]["clips"],
        "notes": notes,
        "protocol": every[0]["protocol"],
    }


def combined(results: Sequence[Results]) -> dict[str, dict[str, Any]]:
    """Scores of the row ``model`` over several trainings: means, with intervals over seeds and clips.

    Metrics without values of single clips (Fréchet distance) get the root of the sum of squares of the mean
    half width over clips and of 1.96 standard errors over seeds.
    """
    models = [result["rows"]["model"]["scores"] for result in results]
    names = dict.fromkeys(name for model in models for name in model)
    return {name: _combined([model[name] for model in models if name in model]) for name in names}


def _combined(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores = [score for score in scores if score["value"] is not None]
    if not scores:
        return {"value": None, "interval": None, "n": 0, "caution": ""}
    value = float(np.mean([score["value"] for score in scores]))
    by_clip = _by_clip(scores)
    caution = next((score["caution"] for score in scores if score["caution"]), "")
    interval = None
    if by_clip is not None and by_clip.shape[1] >= 2:
        interval = _two_way(by_clip)
    elif all(score["interval"] for score in scores):
        within = float(np.mean([(high - low) / 2 for low, high in (score["interval"] for score in scores)]))
        spread = float(np.std([score["value"] for score in scores], ddof=1)) if len(scores) > 1 else 0.0
        half = float(np.hypot(within, NORMAL * spread / np.sqrt(len(scores))))
        interval = [value - half, value + half]
    return {"value": value, "interval": interval, "n": scores[0]["n"], "caution": caution}


def _by_clip(scores: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """(seeds, clips) of the clips that all seeds have; None for a metric without values of single clips."""
    if not all(score.get("per_clip") for score in scores):
        return None
    common = [key for key in scores[0]["per_clip"] if all(key in score["per_clip"] for score in scores)]
    return np.array([[score["per_clip"][key] for key in common] for score in scores])


def _two_way(values: np.ndarray, other: np.ndarray | None = None) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caution of the scores says it
        found = two_way_interval(values, other)
    return [found.low, found.high]


def clip_metrics(variants: Variants, metrics: Mapping[str, Any]) -> dict[str, int]:
    """Metric to its decimals, of those that have values of single clips."""
    scores = [result["rows"]["model"]["scores"] for results in variants.values() for result in results]
    return {
        name: metric["digits"]
        for name, metric in metrics.items()
        if any(s.get(name, {}).get("per_clip") for s in scores)
    }


def differences(variants: Variants, reference: str, digits: Mapping[str, int]) -> list[tuple[str, list[Change]]]:
    """For each other variant its difference from ``reference`` in each metric of ``digits``.

    Over the clips that all trainings of both have. Nothing where the reference is not there.
    """
    found = []
    for name in [name for name in variants if name != reference and reference in variants]:
        sides = [[result["rows"]["model"]["scores"] for result in variants[side]] for side in (name, reference)]
        changes = [
            _difference(*([scores.get(metric, {}) for scores in side] for side in sides), places)
            for metric, places in digits.items()
        ]
        found.append((name, changes))
    return found


def _difference(scores: list[Mapping[str, Any]], others: list[Mapping[str, Any]], digits: int) -> Change:
    everything = _by_clip([*scores, *others])
    if everything is None or everything.shape[1] < 2:
        return UNDEFINED, "", False
    values, other = everything[: len(scores)], everything[len(scores) :]
    low, high = _two_way(values, other)
    value = number(float(values.mean() - other.mean()), digits)
    return value, f"{number(low, digits)} to {number(high, digits)}", low > 0 or high < 0


def page(title: str, variants: Variants, merged: Results, reference: str, about: Mapping[str, str]) -> str:
    """The HTML page of ``merge``d variants. about: name of a variant to what tells it from the others."""
    digits = clip_metrics(variants, merged["metrics"])
    return (
        environment()
        .get_template("ablations.html")
        .render(
            title=title,
            results=merged,
            tables=tables_of(merged),
            emphasized=[reference],
            changes=differences(variants, reference, digits),
            changed=[merged["metrics"][name] for name in digits],
            about=about,
            reference=reference,
        )
    )


def markdown_page(title: str, merged: Results, about: Mapping[str, str]) -> str:
    """The tables in Markdown, variants down."""
    parts = [f"# {title}", *(f"## {table.group}\n\n{markdown_of_rows(table)}" for table in tables_of(merged))]
    parts.append("## Variants\n\n" + "\n".join(f"- **{name}**: {what or 'as it is'}" for name, what in about.items()))
    return "\n\n".join(parts) + "\n"


def _require_alike(results: Sequence[Results]) -> None:
    if not results:
        raise UserError("nothing has been evaluated yet")
    first = results[0]
    keys = [clip["key"] for clip in first["clips"]]
    for result in results[1:]:
        different = [name for name in SAME if result["protocol"].get(name) != first["protocol"].get(name)]
        if [clip["key"] for clip in result["clips"]] != keys:
            different.append("clips")
        if different:
            runs = f"{result['provenance']['run']} and {first['provenance']['run']}"
            raise UserError(f"evaluations of {runs} differ in {different[0]}; they cannot stand in one table")
