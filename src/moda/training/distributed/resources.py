"""Resources of a training: processes, devices, precision, and how long they wait for each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from moda.errors import UserError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
GPU_NAMES = ("gpu", "cuda")
ACCELERATORS = ("cpu", *GPU_NAMES)
A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Resources:
    """What the trainer asks for, checked against what is here.

    accelerator: cpu or gpu. devices: processes on each node, or the indices of its devices. patience: after which a
    collective operation ends by itself, later than any watchdog.
    """

    accelerator: str
    devices: int | tuple[int, ...]
    num_nodes: int
    precision: str
    patience: timedelta = A_DAY

    @classmethod
    def of(cls, trainer: Mapping[str, Any], watchdog: Mapping[str, Any] | None = None) -> "Resources":
        """From the settings under ``trainer`` and ``watchdog``; ``devices: auto`` is every GPU of the node, or one process.

        Raises UserError for GPUs that torch does not see. Opens no device.
        """
        accelerator, precision = str(trainer["accelerator"]), str(trainer["precision"])
        if accelerator not in ACCELERATORS:
            raise UserError(f"trainer.accelerator={accelerator}: must be cpu or gpu (cuda is the same)")
        if precision not in PRECISIONS:
            raise UserError(
                f"trainer.precision={precision}: must be one of {', '.join(PRECISIONS)}, which keep float32 "
                "weights for the optimizer and the averages"
            )
        on_gpu = accelerator in GPU_NAMES
        devices = _devices(trainer["devices"], on_gpu)
        timeout = (watchdog or {}).get("timeout")
        patience = timedelta(seconds=2 * max(timeout, watchdog["first"])) if watchdog and timeout else A_DAY
        return cls("gpu" if on_gpu else "cpu", devices, int(trainer["num_nodes"]), precision, patience)

    @property
    def on_gpu(self) -> bool:
        return self.accelerator == "gpu"

    @property
    def local_processes(self) -> int:
        """Of each node."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    @property
    def processes(self) -> int:
        return self.local_processes * self.num_nodes

    def device(self, local_rank: int) -> "torch.device":
        """The device of a process of this node."""
        import torch

        if not self.on_gpu:
            return torch.device("cpu")
        return torch.device("cuda", local_rank if isinstance(self.devices, int) else self.devices[local_rank])

    def require_fit(self, local_rank: int) -> None:
        """Raise UserError where this process' GPU cannot train what is asked for. Opens it."""
        if self.on_gpu:
            from moda.gpus import open_gpu, require_fit

            require_fit(open_gpu(self.device(local_rank).index), self.precision, self.processes)


def _devices(asked: Any, on_gpu: bool) -> int | tuple[int, ...]:
    """Number of processes, or the GPUs of each: a count, a list as [0,1] or 0,1, or auto."""
    if isinstance(asked, str) and "," in asked:
        asked = [part for part in asked.split(",") if part]
    try:
        if isinstance(asked, list | tuple):
            asked = tuple(int(index) for index in asked)
        elif asked != "auto":
            asked = "auto" if int(asked) == -1 else int(asked)  # as Lightning has it
    except (TypeError, ValueError):
        raise UserError(f"trainer.devices={asked}: must be auto, a number, or a list of GPUs as [0,1]") from None
    if asked == "auto" and not on_gpu:
        return 1
    if isinstance(asked, tuple):
        if not on_gpu:
            raise UserError(f"trainer.devices={list(asked)} names GPUs, but trainer.accelerator=cpu; give their number")
        if not asked or min(asked) < 0 or len(set(asked)) < len(asked):
            raise UserError(f"trainer.devices={list(asked)}: must name different GPUs, counted from 0")
    elif asked != "auto" and asked < 1:
        raise UserError(f"trainer.devices={asked}: at least 1 process is needed")
    if not on_gpu:
        return asked
    import torch

    from moda.gpus import require_gpus

    indices = asked if isinstance(asked, tuple) else ()
    require_gpus(asked if isinstance(asked, int) else max(len(indices), 1), indices)
    return torch.cuda.device_count() if asked == "auto" else asked
