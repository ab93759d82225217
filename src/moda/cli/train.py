"""``moda train``: Hydra overrides to ``moda.training.run.train``, in one process for each device."""

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
    from hydra.core.hydra_config import HydraConfig

    from moda.cli.hydra_app import run_hydra

    def run(config: "DictConfig") -> None:
        settings = resolve(config)
        processes = processes_to_start(settings["trainer"])
        if processes > 1:
            # --multirun has its own overrides for each run
            run_ranks(HydraConfig.get().overrides.task if HydraConfig.initialized() else argv, processes)
            return
        from moda.training.run import train

        train(settings)

    return run_hydra("train", run, argv)


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
