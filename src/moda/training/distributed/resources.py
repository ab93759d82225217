"""Resources of a training: processes, devices, precision, and how long they wait for each other."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from moda.errors import UserError

if TYPE_CHECKING:
    import torch

    from moda.data.schema import DatasetManifest

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

    def require_one_process(self) -> None:
        """Raise UserError where strategy=single is asked to train in several."""
        if self.processes > 1:
            raise UserError(
                f"strategy=single trains in one process, but the trainer asks for {self.processes}; use strategy=ddp, or "
                "trainer.devices=1"
            )

    @property
    def lightning_devices(self) -> int | list[int]:
        """As Lightning's Trainer takes them."""
        return self.devices if isinstance(self.devices, int) else list(self.devices)

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


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_rank(resources: Resources) -> int:
    """How many each process of this node may use: SLURM gives a task its own."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(given) if given.isdigit() else cores() // resources.local_processes


def readers_of(data: Mapping[str, Any], manifest: "DatasetManifest", resources: Resources) -> int:
    """Reader processes of a rank, of the settings under ``data``.

    ``num_workers: auto`` is what its cores and the shards allow, and none on a CPU, which has to train.
    """
    if data["num_workers"] != "auto":
        return data["num_workers"]
    from moda.data.share import readers_that_fit

    shards = sum(shard.split == data["split"] for shard in manifest.shards)
    return readers_that_fit(shards, resources.processes, cores_of_rank(resources)) if resources.on_gpu else 0


def _devices(asked: Any, on_gpu: bool) -> int | tuple[int, ...]:
    """Number of processes, or the GPUs of each: a count, a list as [0,1] or 0,1, or auto."""
    wanted = _parsed(asked)
    if not on_gpu:
        if isinstance(wanted, tuple):
            raise UserError(f"trainer.devices={asked} names GPUs, but trainer.accelerator=cpu; give their number")
        return wanted or 1
    import torch

    from moda.gpus import require_gpus

    if isinstance(wanted, tuple):
        require_gpus(len(wanted), wanted)
    else:
        require_gpus(wanted or 1)
    return wanted or torch.cuda.device_count()


def _parsed(asked: Any) -> int | tuple[int, ...] | None:
    """A count, indices, or None for auto, which is -1 as well."""
    if asked == "auto":
        return None
    if isinstance(asked, str) and "," in asked:
        asked = [part for part in asked.split(",") if part]
    try:
        wanted = tuple(int(index) for index in asked) if isinstance(asked, list | tuple) else int(asked)
    except (TypeError, ValueError):
        raise UserError(f"trainer.devices={asked}: must be auto, a number, or a list of GPUs as [0,1]") from None
    if isinstance(wanted, tuple):
        if not wanted or min(wanted) < 0 or len(set(wanted)) < len(wanted):
            raise UserError(f"trainer.devices={asked}: must name different GPUs, counted from 0")
        return wanted
    if wanted == -1:
        return None
    if wanted < 1:
        raise UserError(f"trainer.devices={asked}: at least 1 process is needed")
    return wanted
