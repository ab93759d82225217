"""Findings of a part so far, in a file that is whole at every moment: the part may be stopped at any."""

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moda.files import write_json


class Results:
    """Facts by name, rows of a table, remarks and errors of one part; every addition is written to ``path``."""

    def __init__(self, path: Path):
        self.path = path
        self.facts: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.errors: list[str] = []

    def fact(self, **values: Any) -> None:
        self.facts |= values
        self._write()

    def row(self, **values: Any) -> None:
        self.rows.append(values)
        print("  ".join(f"{name} {value}" for name, value in values.items()), flush=True)
        self._write()

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
        self._write()

    @contextmanager
    def attempt(self, what: str = "") -> Iterator[None]:
        """A block whose failure is noted as an error, with the traceback in the log, and ends nothing but the block."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            reason = str(error).strip().splitlines()[-1:] or [""]
            self.errors.append(f"{what}: ".lstrip(": ") + f"{type(error).__name__}: {reason[0]}")
        finally:
            self._write()

    def _write(self) -> None:
        value = {"facts": self.facts, "rows": self.rows, "notes": self.notes, "errors": self.errors}
        write_json(self.path, _finite(value))


def _finite(value: Any) -> Any:
    """``value`` with None for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(name): _finite(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
