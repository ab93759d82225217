"""``moda replay``: a batch that training stopped at, computed again."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moda.training.faults.replay import BatchResult


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda replay",
        description="Compute a batch at which a training stopped again, sample by sample with the same noise: which "
        "loss or gradient is not finite, and which module is the first to make it so. On the CPU, in one process; a "
        "run on GPUs is replayed on one, where there is one, because its noise was drawn there.",
    )
    parser.add_argument("failure", type=Path, help="RUN/failures/step-N-rank-R")
    parser.add_argument(
        "--checkpoint", metavar="step-M", help="weights to take (default: the newest checkpoint before that step)"
    )
    arguments = parser.parse_args(argv)
    _replay(arguments.failure.absolute(), arguments.checkpoint)
    return 0


def _replay(directory: Path, checkpoint_name: str | None) -> None:
    import torch

    from moda.training.faults.failure import read_failure
    from moda.training.faults.replay import checkpoint_before, load, module_of, replay

    failure, batches = read_failure(directory)
    run_dir = directory.parent.parent
    module = module_of(run_dir)
    checkpoint = checkpoint_before(run_dir / "checkpoints", failure, checkpoint_name)
    updates = load(module, checkpoint)
    if failure.device == "cuda" and torch.cuda.is_available():
        module.to("cuda")
    elif failure.device != "cpu":
        print(f"warning: the noise was drawn on {failure.device}, which is not here: it is another one now")
    numbers = ", ".join(f"{loss:.6g}" for loss in failure.losses)
    print(f"step {failure.step}, rank {failure.rank} of {failure.world_size}: {failure.cause} not finite")
    print(f"in training: loss {numbers}; gradient norm {failure.gradient_norm:.6g}")
    behind = failure.step - 1 - updates
    print(
        f"weights: {checkpoint or 'of the seed'}, "
        + (f"{behind} updates before" if behind else "those of")
        + " that step"
    )
    for number, batch in enumerate(batches):
        if len(batches) > 1:
            print(f"\nmicro-batch {number}")
        _print(replay(module, failure, batch))


def _print(result: "BatchResult") -> None:
    from rich.console import Console
    from rich.table import Table

    inputs = Table("tensor", "smallest", "largest", "not finite")
    for name, (low, high, count) in result.inputs.items():
        inputs.add_row(name, f"{low:.6g}", f"{high:.6g}", str(count))
    samples = Table("key", "start", "index", "loss", "gradient norm", "")
    for sample in result.samples:
        mark = "" if sample.finite else "<- not finite"
        samples.add_row(
            sample.key, str(sample.start), str(sample.index), f"{sample.loss:.6g}", f"{sample.gradient:.6g}", mark
        )
    console = Console(width=120)
    console.print(inputs, samples)
    bad = [sample for sample in result.samples if not sample.finite]
    if not bad:
        print("every sample is finite with these weights: it was the updates between them and that step")
    for sample in bad:
        where = sample.place or "no module of the network: the loss, or its gradient alone"
        print(f"{sample.key} from frame {sample.start}: first not finite: {where}")
