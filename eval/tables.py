"""Scores as tables: one for each group of metrics, rows down, metrics across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, TypeGuard

UNDEFINED = "–"
NO_SCORE = "no score is defined"  # in place of a table


@dataclass(frozen=True)
class Cell:
    """A value and its 95 % interval as text; ``interval`` is empty where there is none."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Table:
    """header: one metric's description (title, unit, better, meaning) each; rows: title and cells."""

    group: str
    header: list[Mapping[str, Any]]
    rows: list[tuple[str, list[Cell]]]


def tables_of(results: Mapping[str, Any]) -> list[Table]:
    """The tables of a results.json; a metric that no row has stays out."""
    metrics, rows = results["metrics"], results["rows"]
    tables = []
    for group in dict.fromkeys(metric["group"] for metric in metrics.values()):
        names = [
            name
            for name, metric in metrics.items()
            if metric["group"] == group and any(is_defined(_score(row, name)["value"]) for row in rows.values())
        ]
        body = [
            (row["title"], [_cell(_score(row, name), metrics[name]["digits"]) for name in names])
            for row in rows.values()
        ]
        if names:
            tables.append(Table(group, [metrics[name] for name in names], body))
    return tables


def _score(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return row["scores"].get(name, {"value": None, "interval": None})


def _cell(score: Mapping[str, Any], digits: int) -> Cell:
    if not is_defined(score["value"]):
        return Cell(UNDEFINED)
    return Cell(number(score["value"], digits), " to ".join(edges(score, digits)))


def is_defined(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to print and to rank."""
    return value is not None and not isnan(value)


def edges(score: Mapping[str, Any], digits: int) -> list[str]:
    """Both ends of a score's interval as text; empty where there is none."""
    interval = score["interval"] or ()
    return [number(edge, digits) for edge in interval] if all(map(is_defined, interval)) else []


def number(value: float, digits: int) -> str:
    """Fixed decimals, without a minus before zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def markdown(tables: Sequence[Table], intervals: bool = True) -> str:
    """All tables as one in Markdown, metrics down and rows across, padded so that it reads well as plain text too."""
    if not tables:
        return NO_SCORE
    titles = [_escaped(title) for title, _ in tables[0].rows]
    lines = [["", *titles]]
    for table in tables:
        for index, metric in enumerate(table.header):
            texts = (_text(cells[index], intervals) for _, cells in table.rows)
            lines.append([_title(metric), *texts])
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles) + 1)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(
        "| "
        + " | ".join([line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))])
        + " |"
        for line in lines
    )


def markdown_of_rows(table: Table, intervals: bool = True) -> str:
    """One table in Markdown, its rows down and metrics across, for many rows."""
    titles = [_title(metric) for metric in table.header]
    lines = [["", *titles], ["---", *("--:" for _ in titles)]]
    lines += [[_escaped(title), *(_text(cell, intervals) for cell in cells)] for title, cells in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(metric: Mapping[str, Any]) -> str:
    return _escaped(metric["title"] + (f" ({metric['unit']})" if metric["unit"] else ""))


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")  # a bare one ends the cell


def _text(cell: Cell, intervals: bool) -> str:
    return f"{cell.value} [{cell.interval.replace(' to ', ', ')}]" if intervals and cell.interval else cell.value
