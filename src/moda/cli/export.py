"""``moda export``: any checkpoint of a run as safetensors and JSON."""

import argparse
from pathlib import Path


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda export",
        description="Consolidate a checkpoint, whatever strategy and number of ranks wrote it, to safetensors and JSON "
        "that load without Lightning and DeepSpeed. Training renews RUN/export by itself at every checkpoint; this "
        "is for another step, the weights without averaging, or an average of another length.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory, as runs/dit")
    parser.add_argument("--step", type=int, help="by default the newest complete checkpoint")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--weights",
        default="exponential",
        metavar="NAME",
        help="exponential (default), trained (no average), or power-WIDTH for a width that ema.power kept",
    )
    which.add_argument(
        "--sigma-rel",
        type=float,
        metavar="WIDTH",
        help="power-function average of this relative width, rebuilt from those that ema.power kept",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/exports/step-N-NAME")
    arguments = parser.parse_args(argv)

    from moda.training.checkpoints.consolidate import export_run

    average = None if arguments.weights == "trained" else arguments.weights
    out = export_run(arguments.run, arguments.out, arguments.step, average, arguments.sigma_rel)
    print(f"exported to {out}; moda generate and moda evaluate take it as a checkpoint")
    return 0
