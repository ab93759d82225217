"""Component specs: how a data set or a checkpoint names the code that made it.

A spec is a mapping with ``_target_`` (a dotted name under ``moda``) and keyword arguments, the form
Hydra's ``instantiate`` takes. Specs come from files that other people wrote, so nothing outside
this package is ever called from one.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate

from moda.errors import UserError


def build(spec: Mapping[str, Any], **kwargs: Any) -> Any:
    """Instantiate ``spec``; a ``_target_`` outside ``moda``, at any depth, is refused.

    A UserError of the component itself comes through as it is, without Hydra's traceback around it; settings that it
    does not take, or of another type, are one as well.
    """
    _check(spec)
    try:
        return instantiate(spec, **kwargs, _convert_="all")
    except InstantiationException as error:
        causes = _causes(error)
        if own := next((cause for cause in causes if isinstance(cause, UserError)), None):
            raise own from None
        if not isinstance(causes[-1], TypeError | ValueError):
            raise
        name, reason = str(spec["_target_"]).rpartition(".")[2], " ".join(str(causes[-1]).split())
        raise UserError(f"cannot build {name} of these settings: {reason}") from error


def _causes(error: BaseException) -> list[BaseException]:
    """What went wrong, from the outside in."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


def with_settings(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` with other settings, which may be nested; UserError for one that its component does not take."""
    _check(spec)
    known = signature(get_class(spec["_target_"])).parameters
    if unknown := [name for name in settings if name not in known]:
        raise UserError(f"{spec['_target_'].rpartition('.')[2]} has no setting {unknown[0]!r}, only {', '.join(known)}")
    return _merged(spec, settings)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        merged[name] = _merged(below[name], value) if nested else value
    return merged


def _check(value: Any) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not str(target).startswith("moda."):
            raise UserError(f"refusing to build {target!r}: only components under moda. may be named in a file")
        for child in value.values():
            _check(child)
    elif isinstance(value, list | tuple):
        for child in value:
            _check(child)
