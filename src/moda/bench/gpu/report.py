"""The two pages of all parts, ``gpu.json`` and ``gpu.md``, of whatever each has left. The standard library alone.

FOLDER/parts/PART.json        what the part found; missing where it failed before it found anything
FOLDER/parts/PART.log         what it printed
FOLDER/parts/PART.status      exit status, seconds it took, seconds it was given; "skipped REASON" where it was not run
"""

import json
import math
from pathlib import Path
from typing import Any

STOPPED = (124, 137)  # by timeout


def write_pages(folder: Path, out: Path) -> None:
    """Write both pages of the parts below ``folder`` into ``out``."""
    parts = [_part(path) for path in sorted((folder / "parts").glob("*.status"), key=_order)]
    value = {"parts": {part.pop("name"): part for part in parts}}
    (out / "gpu.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    (out / "gpu.md").write_text(_page(value["parts"]))


def _order(path: Path) -> int:
    return path.stat().st_mtime_ns


def _part(status: Path) -> dict[str, Any]:
    """state: done, failed, stopped (at its limit) or skipped; beside it what the part left."""
    text = status.read_text().strip()
    found = {"facts": {}, "rows": [], "notes": [], "errors": []} | _left(status.with_suffix(".json"))
    if text.startswith("skipped"):
        return {"name": status.stem, "state": "skipped", "reason": text.removeprefix("skipped").strip()} | found
    code, seconds, limit = (int(number) for number in text.split())
    state = "stopped" if code in STOPPED else "failed" if code else "done"
    reason = f"stopped at its limit of {limit} s" if code in STOPPED else found["errors"][0] if found["errors"] else ""
    if code and not reason:  # it could not say itself
        reason = f"status {code}: {_last_line(status.with_suffix('.log'))}"
    if not code and "skipped" in found["facts"]:
        state, reason = "skipped", str(found["facts"].pop("skipped"))
    return {"name": status.stem, "state": state, "reason": reason, "seconds": seconds, "limit": limit} | found


def _left(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "it said nothing"


def _page(parts: dict[str, dict[str, Any]]) -> str:
    summary = [
        {"part": name, "state": part["state"], "seconds": part.get("seconds"), "limit": part.get("limit"), "reason": part["reason"]}
        for name, part in parts.items()
    ]  # fmt: skip
    lines = ["# Measured on this machine", "", *_table(summary), ""]
    for name, part in parts.items():
        if not any(part[kind] for kind in ("facts", "rows", "notes", "errors")):
            continue
        lines += [f"## {name}", ""]
        lines += [f"- {_title(key)}: {_text(value)}" for key, value in part["facts"].items()]
        lines += ["", *_table(part["rows"])] if part["rows"] else []
        lines += ["", *(f"- {note}" for note in part["notes"])] if part["notes"] else []
        lines += ["", *(f"- failed: {error}" for error in part["errors"])] if part["errors"] else []
        lines.append("")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of any columns, in the order in which those are met."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = ["| " + " | ".join(map(_title, columns)) + " |", "|---" * len(columns) + "|"]
    return head + ["| " + " | ".join(_text(row.get(name)).replace("|", "\\|") for name in columns) + " |" for row in rows]  # fmt: skip


def _title(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    """As a person reads it: four digits of a number."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}" if abs(value) < 10_000 and math.isfinite(value) else f"{value:.0f}"
        case dict():
            return ", ".join(f"{_title(str(key))} {_text(child)}" for key, child in value.items()) or "–"
        case list():
            return ", ".join(map(_text, value)) or "–"
    return str(value)
