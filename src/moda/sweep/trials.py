"""Trials and the grids that they are points of, in Hydra's sweep syntax."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from moda.errors import UserError

RESERVED = ("run_dir", "name", "resume")  # the sweep gives each trial its own place


@dataclass(frozen=True)
class Trial:
    """One training. ``axes``: the swept settings; ``overrides``: all of them, as on a command line."""

    axes: Mapping[str, str]
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """By a hash of the settings, so that a wider grid finds the trials it shares."""
        settings = "\n".join(sorted(self.overrides))
        return f"trial-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"


def parse(overrides: Iterable[str]) -> list[Override]:
    """Raises UserError for what is not an override or may not be set in a sweep."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(f"cannot read {error.override!r}: {str(error.message).splitlines()[0]}") from error
    for override in parsed:
        if key_of(override) in RESERVED:
            raise UserError(
                f"{key_of(override)} cannot be set in a sweep, each trial has its own; "
                "name the sweep with sweep.name=..."
            )
    return parsed


def key_of(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def text_with(override: Override, value: str) -> str:
    """``override`` with one of its values; keeps + and @package as they were written."""
    return f"{str(override.input_line).split('=', 1)[0]}={value}"


def values_of(override: Override) -> list[str]:
    """The values of choice(...), range(...) or a list with commas, as text."""
    try:
        return [str(value) for value in override.sweep_string_iterator()]
    except HydraException as error:
        raise UserError(
            f"{override.input_line!r} has no list of values; a grid takes a,b and choice(...) and range(...); "
            "interval(...) needs sweep.search=optuna"
        ) from error


def expand(overrides: Iterable[str]) -> list[Trial]:
    """Every combination of the values in ``overrides``, last axis fastest."""
    choices: list[list[tuple[str, str, bool]]] = []  # for each override: (key, text, is an axis)
    for override in parse(overrides):
        key = key_of(override)
        if override.is_sweep_override():
            choices.append([(key, text_with(override, value), True) for value in values_of(override)])
        else:
            choices.append([(key, str(override.input_line), False)])
    return [_trial(combination) for combination in itertools.product(*choices)]


def _trial(combination: tuple[tuple[str, str, bool], ...]) -> Trial:
    axes = {key: text.split("=", 1)[1] for key, text, swept in combination if swept}
    return Trial(axes, tuple(text for _, text, _ in combination))
