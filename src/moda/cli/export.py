"""``moda export``: any checkpoint of a run as safetensors and JSON."""

import argparse
from pathlib import Path

from moda.errors import UserError


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
    parser.add_argument(
        "--official",
        type=Path,
        metavar="FILE",
        help="write the network there as well, as official MoDA's .pth or .safetensors",
    )
    arguments = parser.parse_args(argv)

    from moda.interop.export import load_export
    from moda.interop.moda import save_official
    from moda.training.checkpoints.consolidate import export_run

    average = None if arguments.weights == "trained" else arguments.weights
    out = export_run(arguments.run, arguments.out, arguments.step, average, arguments.sigma_rel)
    if arguments.official is not None:
        network = load_export(out).network
        if network is None:
            raise UserError(f"{arguments.run} trained a motion VAE, which has no official form; leave out --official")
        save_official(network, arguments.official)
    print(f"exported to {out}; moda generate and moda evaluate take it as a checkpoint")
    return 0
