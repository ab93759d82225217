"""Dataclasses out of JSON that other people wrote: each field is of the type that its class says, or it is an error."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Class = TypeVar("Class")
Fields = tuple[tuple[str, Any, bool], ...]


def typed(cls: type[Class], values: Mapping[str, Any]) -> Class:
    """``cls(**values)``, a dataclass. Raises ValueError for a field that is missing, unknown or of another type.

    Known types are those of JSON, unions, ``list``, ``tuple`` and ``dict`` of them; an int is a float as well,
    a bool is no number.
    """
    known = _fields(cls)
    for name, kind, needed in known:
        if name not in values:
            if needed:
                raise ValueError(f"it has no {name}")
        elif not fits(values[name], kind):
            shown = kind.__name__ if isinstance(kind, type) and not get_args(kind) else kind
            raise ValueError(f"its {name} is {values[name]!r:.40}, expected {shown}")
    if unknown := values.keys() - {name for name, _, _ in known}:
        raise ValueError(f"its {', '.join(sorted(map(str, unknown)))} is not known")
    return cls(**values)


@cache
def _fields(cls: type) -> Fields:
    """(name, type, whether it must be given) of each."""
    hints = get_type_hints(cls)
    return tuple((f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(cls))


def fits(value: Any, kind: Any) -> bool:
    """Whether ``value`` is of ``kind``, a type as a dataclass declares it."""
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    inner = get_args(kind)
    if not inner:
        return kind is Any or isinstance(value, NoneType if kind is None else kind)
    origin = get_origin(kind)
    if origin is UnionType:
        return any(fits(value, one) for one in inner)
    if origin is dict:
        return isinstance(value, dict) and all(fits(child, inner[1]) for child in value.values())
    if not isinstance(value, list | tuple):
        return False
    if len(inner) == 1 or inner[-1] is Ellipsis:
        if inner[0] in (int, float):  # at once, as an embedding has hundreds
            return {type(child) for child in value} <= {int, inner[0]}
        return all(fits(child, inner[0]) for child in value)
    return len(value) == len(inner) and all(map(fits, value, inner))
