"""Stages of the MM-DiT: which streams of tokens share weights and a sequence, and for how many blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moda.errors import UserError

STREAMS = ("motion", "audio", "emotion", "identity")
STATIC_STREAMS = ("emotion", "identity")  # the same for every frame


@dataclass(frozen=True)
class Stage:
    """``depth`` blocks in which each group of streams is one sequence with weights of its own."""

    depth: int
    groups: tuple[tuple[str, ...], ...]

    @property
    def single(self) -> bool:
        return len(self.groups) == 1


def parse_stages(stages: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """Check a configured list of {depth, groups}; every stage must hold every stream once, motion first."""
    if not stages:
        raise UserError("model.network.stages is empty; the transformer needs at least one stage")
    try:
        parsed = tuple(Stage(int(s["depth"]), tuple(tuple(group) for group in s["groups"])) for s in stages)
    except KeyError as error:
        raise UserError(f"model.network.stages: every stage needs depth and groups; {error} is absent") from error
    for number, stage in enumerate(parsed):
        where = f"model.network.stages[{number}]"
        streams = [stream for group in stage.groups for stream in group]
        if sorted(streams) != sorted(STREAMS):
            raise UserError(f"{where}.groups must hold each of {', '.join(STREAMS)} once, but holds {streams}")
        if streams[0] != "motion":
            raise UserError(f"{where}.groups must begin with motion, but begins with {streams[0]}")
        if stage.depth < 1:
            raise UserError(f"{where}.depth is {stage.depth}; leave out a stage that has no blocks")
    return parsed
