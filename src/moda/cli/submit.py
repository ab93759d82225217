"""``moda submit``: a command of ``moda`` as a SLURM job."""

import hashlib
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moda.cli.hydra_app import compose, run_hydra
from moda.cli.train import resolve
from moda.errors import UserError
from moda.overrides import quoted
from moda.slurm import queue, script
from moda.slurm.resources import training_overrides
from moda.slurm.settings import JobSettings

DRY_RUN, NOT_SUBMITTED = "--dry-run", "slurm.submit=false"


def main(argv: list[str]) -> int:
    own, command = split_command(argv)

    def run(config: DictConfig) -> None:
        settings = job_settings(config)
        if not command:
            raise UserError("no command to submit; as in: moda submit slurm.time=24:00:00 train task=dit data.path=...")
        job = job_of(settings, command, typed("submit", argv))
        hand_over(job, f"{job.place}")

    return run_hydra("submit", run, own)


def typed(command: str, argv: list[str]) -> str:
    """The line that asks for a job, for the head of its script."""
    return shlex.join(["moda", command, *(text for text in argv if text != DRY_RUN)])


def split_command(argv: list[str]) -> tuple[list[str], list[str]]:
    """(settings of the job, the command): flags belong to the job up to the command's name, to it after that."""
    own, command = [], []
    for text in argv:
        if text == DRY_RUN:
            own.append(NOT_SUBMITTED)
        elif is_job_setting(text) or (not command and text.startswith("-")):
            own.append(with_new_names(text))
        else:
            command.append(text)
    return own, command


def is_job_setting(text: str) -> bool:
    return text.lstrip("+~").startswith(("slurm.", "slurm="))


def with_new_names(text: str) -> str:
    """For Hydra: ++ before a variable, whose name it does not know; its value stays the text that it is.

    ``slurm.env.FLAG=true`` is not to become True, nor ``^docker0,lo`` an error.
    """
    variable = re.fullmatch(r"\+*(slurm\.env\.[^=]*)=(.*)", text, re.DOTALL)
    if not variable:
        return text
    name, value = variable.groups()
    is_quoted = re.fullmatch(r"""(["']).*\1""", value, re.DOTALL)
    return f"++{name}={value if is_quoted else quoted(value)}"


def job_settings(config: DictConfig) -> JobSettings:
    """The settings under ``slurm``; a value of the wrong type is a UserError."""
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(JobSettings), config.slurm))
    except OmegaConfBaseException as error:
        raise UserError(f"{str(error).splitlines()[0]} (setting slurm.{error.full_key})") from error
    assert isinstance(settings, JobSettings)
    return settings


def job_of(settings: JobSettings, command: list[str], line: str) -> script.Job:
    """The job that runs ``command``; of a training, checked as far as the submitting machine can."""
    from moda.cli.main import COMMANDS

    name, *arguments = command
    if name not in COMMANDS or name == "submit":
        raise UserError(f"{name!r} is no command to submit; moda --help lists them")
    if name == "sweep":
        raise UserError("a sweep submits its own jobs: moda sweep sweep.launcher=slurm ...")
    if name == "train":
        config, resources = trained_on(settings, arguments)
        place = Path(config["run_dir"])
        folder, argv = place / "slurm", (*command, *resources)
    else:
        if settings.world_size > 1:
            raise UserError(
                f"moda {name} is one process, but the job has {settings.world_size} tasks; "
                "give slurm.nodes=1 and slurm.gpus_per_node=1, or slurm=cpu"
            )
        place = folder = Path("jobs") / f"{name}-{hashlib.sha256(shlex.join(command).encode()).hexdigest()[:6]}"
        argv = tuple(command)
    return script.Job(settings, Path(settings.dir or folder), place, tuple(argv), line)


def trained_on(settings: JobSettings, overrides: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(the composed settings of a training, the overrides that its resources add)."""
    for text in overrides:
        if text.startswith("-"):
            raise UserError(f"{text}: flags of moda train cannot be submitted; for many trainings use moda sweep")
    config = resolve(compose("train", overrides))
    given = {text.lstrip("+~").split("=", 1)[0] for text in overrides}
    resources = training_overrides(settings, config, given)
    _check_data(config, settings)
    return config, resources


def _check_data(config: dict[str, Any], settings: JobSettings) -> None:
    """Refuse what training would refuse at its start, as far as the data can be seen from here."""
    from moda.data.schema import DatasetManifest
    from moda.data.share import micro_batch_size, require_enough_shards

    data, ranks = config["data"], settings.world_size
    micro_batch_size(data["batch_size"], ranks, config["trainer"]["accumulate_grad_batches"])
    try:
        manifest = DatasetManifest.load(data["path"])
    except UserError as error:
        if not settings.container.image:  # inside of which it may be somewhere else
            _warn_once(f"warning: {error}; the nodes must see it")
        return
    if data["mode"] == "ordered":
        sizes = tuple(shard.num_samples for shard in manifest.shards if shard.split == "train")
        readers = 0 if data["num_workers"] == "auto" else data["num_workers"]
        require_enough_shards(sizes, "train", ranks, readers)


@cache
def _warn_once(line: str) -> None:
    """The trials of a sweep mostly have the same data."""
    print(line, file=sys.stderr)


def hand_over(job: script.Job, what: str) -> None:
    """Write the script and submit it, or print it."""
    if not job.settings.submit:
        path = script.write(job)
        print(path.read_text(), end="")
        print(f"# written to {path}; not submitted")
        return
    queue.refuse_second(job.script, what)
    path = script.write(job)
    number = queue.submit(path)
    log = job.log.replace("%A", number).replace("%j", number).replace("%a", "*")
    print(f"submitted job {number}: {path}")
    print(f"log: {log}   state: squeue -j {number}   end it: scancel {number}")
