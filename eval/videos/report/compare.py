"""Several results in one table, if they were measured alike."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from moda.errors import UserError
from moda.eval.videos.report.results import SCHEMA, identity_of
from moda.files import read_json

LONGEST = 60  # characters of a value in an error
# parts of a result: what they are in JSON, and what a table reads of each entry
PARTS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "networks": (dict, ()),
    "provenance": (dict, ()),
    "metrics": (dict, ("title", "unit", "group", "better", "meaning", "digits")),
    "rows": (dict, ("title", "kind", "scores")),
    "clips": (list, ("key", "row", "sha256")),
}


def load_results(path: str | Path) -> dict[str, Any]:
    """Read a results.json, or that of a folder. Raises UserError for anything else, and for one that lacks a part."""
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    results = read_json(path)
    protocol = _part(results, "protocol") if _part(results, "schema") == SCHEMA else None
    if _part(protocol, "fingerprint") is None:
        raise UserError(f"{path} is no result of videos under a protocol; make it with moda evaluate")
    if flaw := _flaw(results):
        raise UserError(f"{path} is not whole: {flaw}; evaluate again")
    return results


def _flaw(results: Mapping[str, Any]) -> str | None:
    """What is missing that ``merge_results`` and the tables read."""
    for part, (kind, needed) in PARTS.items():
        if not isinstance(results.get(part), kind):
            return f"it has no {part}"
        entries = results[part].values() if kind is dict else results[part]
        for entry, name in product(entries, needed):
            if _part(entry, name) is None:
                return f"one of its {part} has no {name}"
    if _part(results["provenance"], "versions") is None:
        return "its provenance has no versions"
    strange = next((clip["row"] for clip in results["clips"] if clip["row"] not in results["rows"]), None)
    return None if strange is None else f"one of its clips is of a row {strange!r}, which it lacks"


def _part(value: Any, name: str) -> Any:
    """What a JSON object has by that name; None where it is no object or has nothing there."""
    return value.get(name) if isinstance(value, Mapping) else None


def merge_results(paths: Sequence[str | Path]) -> dict[str, Any]:
    """The rows of all results under the first one's reference and controls; ``notes`` tell of other versions.

    Raises UserError naming the first thing in which they differ: protocol, networks, clips, reference or what
    a column means. A column that some results lack is kept.
    """
    all_results = [(Path(path), load_results(path)) for path in paths]
    first_path, first = all_results[0]
    merged = {**first, "rows": dict(first["rows"]), "metrics": dict(first["metrics"]), "notes": []}
    for path, other in all_results[1:]:
        difference = _first_difference(identity_of(first), identity_of(other)) or _other_meaning(merged, other)
        if difference:
            where, ours, theirs = difference
            raise UserError(
                f"{first_path} and {path} cannot stand in one table: {where} is {_short(ours)} in one and {_short(theirs)} "
                "in the other; evaluate both alike"
            )
        for name, row in other["rows"].items():
            if row["kind"] != "method":
                continue
            if name in merged["rows"]:
                raise UserError(f"{path} has a row {name!r} as a result before it has; rename one of the methods")
            merged["rows"][name] = row
        merged["metrics"] |= {
            name: metric for name, metric in other["metrics"].items() if name not in merged["metrics"]
        }
        merged["notes"] += _other_versions((first_path, first), (path, other))
    return merged


def _other_meaning(merged: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first column of both that measures something else in each."""
    for name in merged["metrics"].keys() & other["metrics"].keys():
        for what, where in (("meaning", f"metrics.{name}"), ("spec", f"metrics.{name}.spec")):
            ours, theirs = (results["metrics"][name].get(what) for results in (merged, other))
            if found := _first_difference(ours, theirs, where):
                return found
    return None


def _other_versions(*results: tuple[Path, Mapping[str, Any]]) -> list[str]:
    """What to tell of programs of other versions, which may move a number's last digits and seldom more."""
    ours, theirs = (found["provenance"]["versions"] for _, found in results)
    other = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if not other:
        return []
    told = (
        f"{path} with {', '.join(f'{name} {versions.get(name)}' for name in other)}"
        for (path, _), versions in zip(results, (ours, theirs), strict=True)
    )
    return [f"measured by other versions: {'; '.join(told)}"]


def _first_difference(ours: Any, theirs: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """(where, one, other) of the first value in which two JSON values differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            found = _first_difference(ours.get(key), theirs.get(key), f"{where}.{key}" if where else str(key))
            if found:
                return found
        return None
    return None if ours == theirs else (where, ours, theirs)


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
