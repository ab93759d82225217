"""Progress of long work: a bar on a terminal, a plain line now and then anywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 5.0  # seconds between plain lines


@contextmanager
def progress(title: str, total: int, unit: str = "") -> Iterator[Callable[..., None]]:
    """Yield ``advance(count=1, note="", rate="")`` for work of ``total`` steps.

    A terminal shows a bar with elapsed and remaining time; a log file gets one line every
    ``LINE_EVERY`` seconds and one at the end. note: what has just been done, for the bar alone; rate: how
    fast the work goes, for both.
    """
    if sys.stdout.isatty():
        yield from _bar(title, total, unit)
    else:
        yield from _lines(title, total, unit)


def _bar(title: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=total, note="", rate="")

        def advance(count: int = 1, note: str = "", rate: str = "") -> None:
            bar.update(task, advance=count, note=note, rate=rate)

        yield advance


def _lines(title: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    began = last = time.monotonic()
    done, speed = 0, ""

    def line() -> None:
        elapsed = time.monotonic() - began
        left = f", about {clock(elapsed / done * (total - done))} left" if 0 < done < total else ""
        print(f"{title}: {done}/{total} {unit} in {clock(elapsed)}{left}{speed}".replace("  ", " "), flush=True)

    def advance(count: int = 1, note: str = "", rate: str = "") -> None:
        nonlocal done, last, speed
        done, speed = done + count, f", {rate}" if rate else ""
        if time.monotonic() - last >= LINE_EVERY and done < total:
            last = time.monotonic()
            line()

    yield advance
    line()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, as in 0:01:23."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
