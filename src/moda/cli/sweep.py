"""``moda sweep``: a grid of ``moda train``."""

from pathlib import Path

from omegaconf import DictConfig

from moda.cli.hydra_app import run_hydra
from moda.cli.train import resolve
from moda.errors import UserError


def main(argv: list[str]) -> int:
    from moda.training.sweep import Sweep, expand, print_table, split_overrides, table, write_table

    own, overrides = split_overrides(argv)

    def run(config: DictConfig) -> None:
        settings = resolve(config)["sweep"]
        directory = Path(settings["dir"])
        trials = expand(overrides, directory)
        failed = Sweep(directory, trials, settings["jobs"]).run()
        header, rows = table(trials)
        write_table(directory, header, rows)
        print_table(header, rows)
        print(f"table: {directory / 'table.md'}")
        if failed:
            names = ", ".join(trial.name for trial in failed)
            raise UserError(
                f"{len(failed)} of {len(trials)} trials failed: {names}; mend the cause and run the sweep again"
            )

    return run_hydra("sweep", run, own)
