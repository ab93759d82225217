"""What several parts ask of a setting before they use it."""

import math
from collections.abc import Iterable
from typing import Any

from moda.errors import UserError


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number, and not text, a list or NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_weight(value: Any) -> bool:
    """Whether ``value`` is a finite number, 0 or more."""
    return is_number(value) and value >= 0


def names_of(setting: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """The names that ``value`` lists; UserError for text, which would be read letter by letter."""
    if isinstance(value, str):
        raise UserError(f"{setting}={value}: must be a list; write {setting}=[{value}]")
    return tuple(value)
