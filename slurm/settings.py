"""What a job asks the cluster for, checked once, before anything waits in a queue."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from moda.errors import UserError

RUNTIMES = ("apptainer", "singularity", "pyxis", "enroot")
SIGNAL_EARLY = 60  # seconds: SLURM may send a warning signal that much before its time

_TIME = re.compile(
    r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?"  # days-hours[:minutes[:seconds]]
    r"|(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)|(?P<m2>\d+):(?P<s2>\d+)|(?P<m3>\d+))"  # [hours:]minutes:seconds, minutes
)


@dataclass
class ContainerSettings:
    """Where the tasks run. ``image``: none runs them directly; ``mounts``: HOST or HOST:INSIDE."""

    runtime: str = "apptainer"
    image: str | None = None
    mounts: list[str] = field(default_factory=list)


@dataclass
class JobSettings:
    """What ``conf/slurm`` holds; its comments say what each means. Raises UserError for what SLURM cannot take."""

    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    cpus_per_task: int = 1
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    job_name: str | None = None
    dir: str | None = None
    python: str | None = None
    container: ContainerSettings = field(default_factory=ContainerSettings)
    modules: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    signal_seconds: int = 300
    max_restarts: int = 20
    wait: int = 120
    submit: bool = True

    def __post_init__(self) -> None:
        for name, least in {"nodes": 1, "gpus_per_node": 0, "cpus_per_task": 1, "signal_seconds": 0,
                            "max_restarts": 0, "wait": 1}.items():  # fmt: skip
            if getattr(self, name) < least:
                raise UserError(f"slurm.{name}={getattr(self, name)}: must be at least {least}")
        for name, value in self.env.items():
            if not isinstance(value, str):  # slurm.env.A.B=1
                raise UserError(f"slurm.env.{name} holds {value}; the name of a variable has no dot")
        refuse_newlines(_strings(self))
        self._check_tasks()
        self._check_time()
        if self.mem is not None and not re.fullmatch(r"\d+[KMGT]?", self.mem):
            raise UserError(f"slurm.mem={self.mem}: give memory a node as 64G or 64000M")
        self._check_environment()

    @property
    def tasks(self) -> int:
        """Tasks on a node: one a GPU, or as many as CPU tasks are asked for."""
        return self.gpus_per_node or self.tasks_per_node or 1

    @property
    def world_size(self) -> int:
        return self.nodes * self.tasks

    def _check_tasks(self) -> None:
        if self.tasks_per_node is None:
            return
        if self.tasks_per_node < 1:
            raise UserError(f"slurm.tasks_per_node={self.tasks_per_node}: must be at least 1")
        if self.gpus_per_node and self.tasks_per_node != self.gpus_per_node:
            raise UserError(
                f"slurm.tasks_per_node={self.tasks_per_node} contradicts slurm.gpus_per_node={self.gpus_per_node}: "
                "one task drives one GPU; leave tasks_per_node out"
            )

    def _check_time(self) -> None:
        if self.time is None or self.time in ("UNLIMITED", "INFINITE"):
            return
        limit = seconds(self.time)
        if self.signal_seconds and limit <= self.signal_seconds + SIGNAL_EARLY:
            raise UserError(
                f"slurm.time={self.time} leaves no time to train: the job is told to save slurm.signal_seconds="
                f"{self.signal_seconds} before its end, and SLURM may be {SIGNAL_EARLY} s early; ask for more time"
            )

    def _check_environment(self) -> None:
        for name in self.env:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise UserError(f"slurm.env.{name}: not the name of an environment variable")
        for option in self.extra:
            if not re.match(r"--[a-z]", option):
                raise UserError(f"slurm.extra holds {option!r}; give sbatch's long options, as '--reservation=NAME'")
        if self.container.runtime not in RUNTIMES:
            raise UserError(f"slurm.container.runtime={self.container.runtime}: must be one of {', '.join(RUNTIMES)}")
        if self.container.mounts and not self.container.image:
            raise UserError("slurm.container.mounts without slurm.container.image does nothing; give the image")
        for mount in self.container.mounts:
            if not re.fullmatch(r"[^:,]+(:[^:,]+){0,2}", mount):
                raise UserError(f"slurm.container.mounts holds {mount!r}; give HOST or HOST:INSIDE, without commas")


def seconds(time: str) -> int:
    """A time limit as SLURM writes it (minutes, 24:00:00, 2-12, 2-12:30:00) in seconds."""
    match = _TIME.fullmatch(time)
    if not match:
        raise UserError(f"slurm.time={time}: give minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    minutes = part["dm"] + part["m"] + part["m2"] + part["m3"]
    return part["d"] * 86400 + (part["dh"] + part["h"]) * 3600 + minutes * 60 + part["ds"] + part["s"] + part["s2"]


def refuse_newlines(texts: Iterable[str]) -> None:
    """A line break would end a line of the batch script in the middle of a value."""
    for text in texts:
        if any(character in text for character in "\n\r\0"):
            raise UserError(f"{text!r} holds a line break, which a batch script cannot carry; leave it out")


def _strings(settings: Any) -> Iterable[str]:
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, ContainerSettings):
            yield from _strings(value)
        elif isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from value
        elif isinstance(value, dict):
            yield from value
            yield from value.values()
