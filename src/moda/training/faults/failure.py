"""A batch kept for replay.

RUN/failures/step-N-rank-R/batch-M.safetensors    its tensors, for each suspicious micro-batch
                           failure.json           what was not finite, keys, starts, places in the stream
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from moda.data.windows import Batch
from moda.errors import UserError
from moda.files import atomic_path, read_json, write_json

FAILURE = "failure.json"


@dataclass(frozen=True)
class Failure:
    """What was seen at optimizer step ``step`` (counted from 1) on ``rank``.

    cause: loss, gradient or weights. losses: of every micro-batch of the step; gradient_norm: before
    clipping, 0 where it was not computed.
    """

    step: int
    rank: int
    world_size: int
    seed: int
    cause: str
    precision: str
    device: str
    losses: list[float]
    gradient_norm: float


def failure_directory(failures: Path, step: int, rank: int) -> Path:
    return failures / f"step-{step}-rank-{rank}"


def write_failure(failures: Path, failure: Failure, batches: Iterable[Batch]) -> Path | None:
    """Keep ``batches``; returns their directory, or None where the disk does not let it be written.

    The training stops for ``failure`` in any case, and that is what the user is to hear.
    """
    directory = failure_directory(failures, failure.step, failure.rank)
    batches = list(batches)
    try:
        with atomic_path(directory) as temporary:
            temporary.mkdir()
            for number, batch in enumerate(batches):
                save_file(_tensors(batch), temporary / f"batch-{number}.safetensors")
            numbers = {
                "losses": [str(loss) for loss in failure.losses],  # JSON has no NaN
                "gradient_norm": str(failure.gradient_norm),
            }
            samples = [_plain(batch) for batch in batches]
            write_json(temporary / FAILURE, {**asdict(failure), **numbers, "batches": samples})
    except (UserError, safetensors.SafetensorError) as error:
        print(f"warning: the batch cannot be kept: {error}", flush=True)
        return None
    return directory


def read_failure(directory: Path) -> tuple[Failure, list[Batch]]:
    """What ``write_failure`` has written, tensors on the CPU. Raises UserError."""
    value = read_json(directory / FAILURE)
    try:
        known = {field.name: value[field.name] for field in fields(Failure)}
        known["losses"] = [float(loss) for loss in known["losses"]]
        known["gradient_norm"] = float(known["gradient_norm"])
        batches = [
            {**plain, **load_file(directory / f"batch-{number}.safetensors")}
            for number, plain in enumerate(value["batches"])
        ]
    except (KeyError, TypeError, OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{directory} cannot be read ({error}); name another failure") from error
    return Failure(**known), batches


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: v.detach().cpu().contiguous() for name, v in batch.items() if torch.is_tensor(v)}


def _plain(batch: Batch) -> dict[str, Any]:
    """What is no tensor, the keys; beside them the small integers, for reading without any program."""
    shown = {name: batch[name].tolist() for name in ("start", "index") if torch.is_tensor(batch.get(name))}
    return {**{name: v for name, v in batch.items() if not torch.is_tensor(v)}, **shown}
