"""One table of what the trials of a sweep have reached."""

import csv
from collections.abc import Iterable
from pathlib import Path

from moda.files import atomic_path
from moda.sweep.ledger import Ledger, Status
from moda.training.tracking.metrics import METRICS_NAME, last_metrics


def table(ledger: Ledger, statuses: Iterable[Status]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the swept settings, the state, then the last value of each recorded number, val/ first."""
    statuses = [status for status in statuses if status.name]  # a search names a trial when it begins
    metrics = {status.index: last_metrics(ledger.run_dir(status) / METRICS_NAME) for status in statuses}
    recorded = {name for values in metrics.values() for name in values} - {"step", "lr"}
    names = sorted(recorded, key=lambda name: (not name.startswith("val/"), name))  # what trials are compared by
    axes = list(dict.fromkeys(key for status in statuses for key in status.axes))
    rows = []
    for status in statuses:
        values = metrics[status.index]
        settings = [status.axes.get(key, "") for key in axes]
        numbers = [f"{values[name]:.5g}" if name in values else "" for name in names]
        step = f"{values['step']:.0f}" if "step" in values else ""
        rows.append([status.name, *settings, status.state, step, *numbers])
    return ["trial", *axes, "state", "step", *names], rows


def write_table(directory: Path, header: list[str], rows: list[list[str]]) -> None:
    """table.csv and table.md in ``directory``."""
    with atomic_path(directory / "table.csv") as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lines = [header, ["---"] * len(header), *rows]
    with atomic_path(directory / "table.md") as temporary:
        temporary.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def print_table(header: list[str], rows: list[list[str]], most: int = 8) -> None:
    """The first columns on the terminal; the files hold all of them."""
    from rich.console import Console
    from rich.table import Table

    shown = [i for i, name in enumerate(header) if "error_" not in name and not name.startswith(("speed/", "data/"))][
        :most
    ]
    view = Table()
    for i in shown:
        view.add_column(header[i], overflow="fold")
    for row in rows:
        view.add_row(*(row[i] for i in shown))
    Console().print(view)
