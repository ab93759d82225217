"""``moda train``: Hydra overrides to ``moda.training.run.train``, in one process for each device."""

import hashlib
import re
from typing import TYPE_CHECKING, Any

from moda.errors import UserError
from moda.training.distributed.launch import processes_to_start, run_ranks
from moda.training.faults.stop_signals import DEFAULT, stop_signals

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    with stop_signals.taking(DEFAULT):  # before anything slow is imported; train() takes those that are configured
        return _main(argv)


def _main(argv: list[str]) -> int:
    from moda.cli.hydra_app import job_overrides, run_hydra
    from moda.overrides import quoted

    def run(config: "DictConfig") -> None:
        if "study" in config:
            raise UserError(
                f"{config.name} is a list of trainings; run it with: moda sweep experiment={config.name} ..."
            )
        settings = resolve(config)
        overrides = job_overrides() or argv
        if place := place_in_multirun(overrides, argv):
            own = {key: f"{settings[key]}-{place}" for key in ("name", "run_dir")}
            settings |= own
            overrides = [*overrides, *(f"{key}={quoted(value)}" for key, value in own.items())]
        processes = processes_to_start(settings["trainer"], settings["strategy"]["_target_"])
        if processes > 1:
            run_ranks(overrides, processes)
            return
        from moda.training.run import train

        train(settings)

    return run_hydra("train", run, argv)


def place_in_multirun(overrides: list[str], argv: list[str]) -> str:
    """What tells a run of Hydra's --multirun from its siblings, as ``seed-1``; "" where it has none.

    overrides: of this run; argv: what all of them were asked for with. Without names of their own the
    runs would meet in one directory, and with numbers a wider grid would not find its runs again.
    """
    varied = [text for text in overrides if text not in argv and not text.startswith(("name=", "run_dir="))]
    name = "_".join(re.sub(r"[^\w.+-]+", "-", text.lstrip("+~")).strip("-") for text in varied)
    return name if len(name) <= 80 else hashlib.sha256(name.encode()).hexdigest()[:10]


def resolve(config: "DictConfig") -> dict[str, Any]:
    """Plain dictionaries without interpolations; a setting that has to be given is named."""
    from omegaconf import OmegaConf

    for key in sorted(OmegaConf.missing_keys(config)):
        hint = (
            "; give the folder of a prepared data set: data.path=DATASET" if key == "data.path" else f"; give {key}=..."
        )
        raise UserError(f"{key} is not set{hint}")
    value = OmegaConf.to_container(config, resolve=True)
    assert isinstance(value, dict)
    return {str(name): child for name, child in value.items()}
