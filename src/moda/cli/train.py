"""``moda train``: Hydra overrides to ``moda.training.run.train``."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from moda.cli.hydra_app import run_hydra
from moda.errors import UserError


def main(argv: list[str]) -> int:
    def run(config: DictConfig) -> None:
        from moda.training.run import train

        train(resolve(config))

    return run_hydra("train", run, argv)


def resolve(config: DictConfig) -> dict[str, Any]:
    """Plain dictionaries without interpolations; a setting that has to be given is named."""
    for key in sorted(OmegaConf.missing_keys(config)):
        hint = (
            "; give the folder of a prepared data set: data.path=DATASET" if key == "data.path" else f"; give {key}=..."
        )
        raise UserError(f"{key} is not set{hint}")
    value = OmegaConf.to_container(config, resolve=True)
    assert isinstance(value, dict)
    return {str(name): child for name, child in value.items()}
