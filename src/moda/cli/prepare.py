"""``moda prepare``: a folder of videos to shards."""

import os
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moda.cli.hydra_app import run_hydra
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
    if config.workers is None:
        config.workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PrepareSettings), config))
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0] + f" (setting {error.full_key})") from error
    assert isinstance(settings, PrepareSettings)
    return settings


def main(argv: list[str]) -> int:
    def run(config: DictConfig) -> None:
        from moda.data_prep.pipeline import prepare

        prepare(settings_of(config))

    return run_hydra("prepare", run, argv)
