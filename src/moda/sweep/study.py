"""A list of named trainings, each with several seeds and each evaluated: what ``study`` of an experiment describes.

    first:     trainings that others build on, NAME -> overrides; {NAME} in an override stands for where one lies
    base:      overrides of every variant
    variants:  NAME -> overrides on top of them; those that begin with ``evaluate.`` are of the evaluation
    evaluate:  overrides of every evaluation (moda evaluate protocol=motion)
    baselines: rows of the evaluation that need no variant of their own
    seeds:     of training; reference: the variant that others are held against; only: names of variants, null for all

Variants that differ in their evaluation alone share their trainings: a trial is known by its settings.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moda.checks import names_of
from moda.errors import UserError
from moda.overrides import quoted
from moda.sweep.trials import Trial, key_of, parse

OF_EVALUATION = "evaluate."
OF_VARIANTS = ("task", "model", "flow", "loss", "condition_dropout", "overlap", "experiment")  # not of what comes first
PLACE = re.compile(r"\{(\w+)\}")
NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
FIELDS: Mapping[str, Any] = {
    "first": {}, "base": [], "variants": {}, "evaluate": [], "baselines": [], "seeds": [0], "reference": None, "only": None,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One row of the table. train, evaluate: overrides, those of all variants included."""

    name: str
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    own: tuple[str, ...]  # what tells it from the others

    @property
    def needs(self) -> set[str]:
        """Names of the trainings that must come first."""
        return {name for text in (*self.train, *self.evaluate) for name in PLACE.findall(text)}


@dataclass(frozen=True)
class Study:
    """first: trainings that others build on. reference: the variant that the others are held against, by default the
    first of those chosen."""

    directory: Path
    first: Mapping[str, Trial]
    variants: tuple[Variant, ...]
    baselines: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: Variant

    @classmethod
    def of(cls, value: Mapping[str, Any], directory: str | Path, typed: Sequence[str] = ()) -> "Study":
        """The study that ``value`` describes, in a sweep's ``directory``.

        typed: overrides for all trainings (of those that come first, without settings of the model), and with
        ``evaluate.`` before them for all evaluations; a variant's own go before them. Raises UserError for what does
        not describe a study.
        """
        settings = _checked(value)
        variants = tuple(_variant(name, own, settings, typed) for name, own in settings["variants"].items())
        chosen = _chosen(variants, settings["only"])
        needed = set().union(*(variant.needs for variant in chosen))
        if unknown := sorted(needed - settings["first"].keys()):
            known = ", ".join(settings["first"]) or "none"
            raise UserError(f"study: {{{unknown[0]}}} is no training of study.first, which has {known}")
        of_training, _ = _parted(typed)
        shared = [text for text in of_training if key_of(parse([text])[0]).split(".")[0] not in OF_VARIANTS]
        first = {name: Trial({"first": name}, _merged(settings["first"][name], shared)) for name in sorted(needed)}
        named = settings["reference"]
        if named is not None and named not in settings["variants"]:
            raise UserError(f"study.reference={named}: no variant of that name")
        reference = next((variant for variant in chosen if variant.name == named), chosen[0])
        return cls(Path(directory), first, chosen, settings["baselines"], tuple(settings["seeds"]), reference)

    def dropping(self, failed: Sequence[str]) -> "Study":
        """The study without the trainings ``failed`` of those that come first, and what builds on them."""
        variants = tuple(variant for variant in self.variants if not variant.needs & set(failed))
        if not variants:
            raise UserError(f"all variants build on {', '.join(failed)}, which failed; mend the cause and run it again")
        reference = self.reference if self.reference in variants else variants[0]
        first = {name: trial for name, trial in self.first.items() if name not in failed}
        return replace(self, first=first, variants=variants, reference=reference)

    def first_trials(self) -> list[Trial]:
        return list(self.first.values())

    def trial(self, variant: Variant, seed: int) -> Trial:
        """The training of a variant with one seed."""
        overrides = _merged(variant.train, [f"seed={seed}"])
        axes = {"variant": variant.name, "seed": str(seed)}
        return Trial(axes, tuple(self.placed(text) for text in overrides))

    def trials(self) -> list[Trial]:
        """All trainings of the variants; one that several variants share comes once, under the first's name."""
        found: dict[str, Trial] = {}
        for variant in self.variants:
            for seed in self.seeds:
                trial = self.trial(variant, seed)
                found.setdefault(trial.name, trial)
        return list(found.values())

    def placed(self, text: str) -> str:
        """``text`` with the run directories of the trainings that come first."""
        return PLACE.sub(lambda match: quoted(str(self.directory / self.first[match.group(1)].name)), text)


def _checked(value: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(value) - set(FIELDS)):
        raise UserError(f"study has {unknown[0]!r}; known: {', '.join(FIELDS)}")
    settings = {name: value.get(name, default) for name, default in FIELDS.items()}
    for name in (*settings["first"], *settings["variants"]):
        if not NAME.fullmatch(str(name)):
            raise UserError(f"study: the name {name!r} may hold letters, digits, _ and -, at most 60")
    seeds = settings["seeds"]
    if not isinstance(seeds, Sequence) or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise UserError(f"study.seeds={seeds}: must be a list of whole numbers from 0, as [0,1]")
    for name in ("base", "evaluate", "baselines", "only"):
        if settings[name] is not None:
            settings[name] = names_of(f"study.{name}", settings[name])
    if not settings["variants"] or not seeds:
        raise UserError("study needs at least one of variants and of seeds")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"study.seeds={list(seeds)}: each once")
    return settings


def _variant(name: str, own: Sequence[str] | None, settings: Mapping[str, Any], typed: Sequence[str]) -> Variant:
    (typed_train, typed_evaluate), (train, evaluate) = _parted(typed), _parted(own or ())
    return Variant(
        name,
        _merged(settings["base"], typed_train, train),
        _merged(settings["evaluate"], typed_evaluate, evaluate),
        tuple(own or ()),
    )


def _parted(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of trainings, and those of evaluations as ``moda evaluate`` takes them."""
    train = [text for text in overrides if not text.startswith(OF_EVALUATION)]
    evaluate = [text.removeprefix(OF_EVALUATION) for text in overrides if text.startswith(OF_EVALUATION)]
    return train, evaluate


def _chosen(variants: tuple[Variant, ...], only: Sequence[str] | None) -> tuple[Variant, ...]:
    if only is None:
        return variants
    names = [variant.name for variant in variants]
    if not only or (unknown := [name for name in only if name not in names]):
        raise UserError(
            f"study.only names {unknown[0]!r}; variants: {', '.join(names)}" if only else "study.only is empty"
        )
    return tuple(variant for variant in variants if variant.name in only)


def _merged(*lists: Iterable[str]) -> tuple[str, ...]:
    """Overrides of several lists; of one setting the last list's counts."""
    merged: dict[str, str] = {}
    for texts in lists:
        for text in texts:
            key = key_of(parse([PLACE.sub("place", text)])[0])
            merged.pop(key, None)
            merged[key] = text
    return tuple(merged.values())
