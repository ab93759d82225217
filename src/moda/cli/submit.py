"""``moda submit``: a command of ``moda`` as a SLURM job."""

import hashlib
import shlex
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moda.cli.hydra_app import compose, run_hydra
from moda.cli.train import resolve
from moda.errors import UserError
from moda.slurm import queue, script
from moda.slurm.resources import training_overrides
from moda.slurm.settings import JobSettings

DRY_RUN = "--dry-run"


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
            own.append("slurm.submit=false")
        elif is_job_setting(text) or (not command and text.startswith("-")):
            own.append(with_new_names(text))
        else:
            command.append(text)
    return own, command


def is_job_setting(text: str) -> bool:
    return text.lstrip("+~").startswith(("slurm.", "slurm="))


def with_new_names(text: str) -> str:
    """Hydra wants ++ before settings that it does not know, as the names of variables."""
    return f"++{text}" if text.startswith("slurm.env.") else text


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
    return config, training_overrides(settings, config, given)


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
