"""``moda prepare``: a folder of videos to shards; ``moda prepare status``: how far that is."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moda.cli.hydra_app import run_hydra
from moda.cli.submit import DRY_RUN, is_job_setting, job_settings, typed, with_new_names
from moda.errors import UserError

if TYPE_CHECKING:
    from moda.data_prep.settings import PrepareSettings

REQUIRED = {"source": "the folder that holds the videos", "out": "the folder for the data set"}


def settings_of(config: DictConfig) -> "PrepareSettings":
    """The settings that a composed ``prepare.yaml`` describes; a value of the wrong type is a UserError."""
    from moda.data_prep.settings import PrepareSettings

    for name, what in REQUIRED.items():
        if OmegaConf.is_missing(config, name):
            raise UserError(f"{name}= is missing; give {what}: moda prepare source=VIDEOS out=DATASET")
    if config.workers is None and config.launcher == "local":
        config.workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PrepareSettings), _without_job(config)))
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0] + f" (setting {error.full_key})") from error
    assert isinstance(settings, PrepareSettings)
    return settings


def main(argv: list[str]) -> int:
    if argv[:1] == ["status"]:
        return _status(argv[1:])

    own = ["slurm.submit=false" if text == DRY_RUN else with_new_names(text) for text in argv]

    def run(config: DictConfig) -> None:
        from moda.data_prep.pipeline import prepare
        from moda.data_prep.slurm_array import Cluster

        settings = settings_of(config)
        for text, given in zip(own, argv, strict=True):
            if is_job_setting(text) and settings.launcher != "slurm":
                raise UserError(f"{given} does nothing without launcher=slurm")
        cluster = Cluster(job_settings(config), typed("prepare", argv)) if settings.launcher == "slurm" else None
        prepare(settings, cluster)

    return run_hydra("prepare", run, own)


def _without_job(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(name) for name in config if name != "slurm"])


def _status(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: moda prepare status DATASET", file=sys.stderr if argv != ["--help"] else sys.stdout)
        return 0 if argv == ["--help"] else 2
    from moda.data_prep.status import status, status_lines

    out = Path(argv[0].removeprefix("out="))
    print("\n".join(status_lines(out, status(out))))
    return 0
