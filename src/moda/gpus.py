"""GPUs of this machine: what torch, driver and devices it has, and in one line why a training cannot use them."""

import ctypes
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from moda.errors import UserError, first_line

DRIVER = Path("/proc/driver/nvidia")
LEAST_FREE = 2 * 2**30  # bytes: a CUDA context, NCCL's buffers and the smallest network
MORE = "moda doctor tells more, docs/gpu.md how to mend it"


@dataclass(frozen=True)
class Stack:
    """What has to fit together. torch: its version. build: CUDA that torch was built with; driver: its version;
    supported: newest CUDA that the driver can run. None where there is none.
    """

    torch: str
    build: str | None
    driver: str | None
    supported: tuple[int, int] | None

    def __str__(self) -> str:
        build = f"built for CUDA {self.build}" if self.build else "built without CUDA"
        runs = f", which runs CUDA {_dotted(self.supported)}" if self.supported else ""
        return f"torch {self.torch}, {build}; {f'NVIDIA driver {self.driver}{runs}' if self.driver else 'no NVIDIA driver'}"


@dataclass(frozen=True)
class Gpu:
    """One device as torch numbers it. capability: of computation. total, free: bytes of memory."""

    index: int
    name: str
    capability: tuple[int, int]
    total: int
    free: int

    @property
    def has_bfloat16(self) -> bool:
        """Whether its tensor cores multiply bfloat16: Ampere and later."""
        return self.capability >= (8, 0)

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name}, compute capability {_dotted(self.capability)})"


def is_slice(name: str) -> bool:
    """Whether a device of this name is a part of a card (MIG)."""
    return "MIG" in name.split()


def stack() -> Stack:
    """What is installed here. Opens no device."""
    return Stack(torch.__version__, torch.version.cuda, _driver(), _supported())


def require_gpus(count: int = 1, indices: tuple[int, ...] = ()) -> None:
    """Raise UserError, without opening a device, where torch does not see ``count`` GPUs or one of ``indices``."""
    seen = torch.cuda.device_count()
    if seen == 0:
        raise UserError(f"torch sees no GPU: {_why_none(stack())} ({stack()}; {MORE}); trainer=cpu trains without one")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = f"CUDA_VISIBLE_DEVICES={visible}" if visible is not None else "CUDA_VISIBLE_DEVICES is not set"
    one = "; a task of SLURM must see all GPUs of its node: no --gpus-per-task, no --gpu-bind" if seen == 1 else ""
    if absent := [index for index in indices if index >= seen]:
        raise UserError(
            f"trainer.devices={list(indices)}: torch numbers the GPUs it sees from 0 to {seen - 1}, there is no "
            f"{absent[0]} ({shown}){one}"
        )
    if count > seen:
        raise UserError(
            f"trainer.devices={count}, but torch sees {seen} GPU{'s' * (seen > 1)} ({shown}); ask for as many{one}"
        )


def open_gpu(index: int) -> Gpu:
    """The device with its free memory. Raises UserError for one that cannot be opened, as another process holds it."""
    try:
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"GPU {index} cannot be opened ({first_line(error)}): another process may hold it, see nvidia-smi; choose one with "
            f"trainer.devices=[N] or CUDA_VISIBLE_DEVICES ({stack()}; {MORE})"
        ) from error
    return Gpu(index, properties.name, (properties.major, properties.minor), total, free)


def require_fit(gpu: Gpu, precision: str, processes: int) -> None:
    """Raise UserError where ``gpu`` cannot train in ``precision``, as one of ``processes``, or has no memory left."""
    if precision == "bf16-mixed" and not gpu.has_bfloat16:
        raise UserError(
            f"{gpu} has no bfloat16, which begins with compute capability 8.0; give trainer.precision=32-true, or "
            "trainer.precision=16-mixed optimizer.fused=false"
        )
    if is_slice(gpu.name) and processes > 1:
        raise UserError(
            f"{gpu} is a slice of a card (MIG), and NCCL joins no slices; train on one with trainer.devices=1 "
            "strategy=single, or on whole cards"
        )
    if gpu.free < LEAST_FREE:
        raise UserError(
            f"{gpu} has {gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free: another process uses it, see "
            "nvidia-smi; end that, or choose another GPU with trainer.devices=[N] or CUDA_VISIBLE_DEVICES"
        )


def out_of_memory(error: BaseException) -> UserError | None:
    """The line for a training that needs more memory than its GPU has, if that is what ``error`` is."""
    if not isinstance(error, torch.OutOfMemoryError):
        return None
    reason = " ".join(str(error).split()).split(". If reserved", 1)[0]
    return UserError(
        f"the GPU has too little memory ({reason}); the same batch in more parts needs less: "
        "trainer.accumulate_grad_batches=2, or recompute=true, or strategy=deepspeed_2 on several GPUs"
    )


def _why_none(found: Stack) -> str:
    if found.build is None:
        if found.driver is None:
            return "this torch is built without CUDA, and no NVIDIA driver is loaded"
        return "this torch is built without CUDA, though an NVIDIA driver is loaded; install a CUDA build of torch"
    if found.driver is None:
        return "no NVIDIA driver is loaded: a login node, or a container that was not given the GPUs"
    if found.supported and found.supported[0] < int(found.build.split(".")[0]):
        return (
            f"the driver is too old for this torch; update it to one that runs CUDA {found.build.split('.')[0]}, or "
            f"install a torch built for CUDA {found.supported[0]}"
        )
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} names none that is here"
    return "the driver shows none; a card in MIG mode has to be cut into slices first, see nvidia-smi -L"


@cache
def _driver() -> str | None:
    """Version of the kernel's driver."""
    path = DRIVER / "version"
    if path.is_file():
        found = re.search(r"(\d+\.\d+(?:\.\d+)?)", path.read_text())
        return found[1] if found else "of unknown version"
    return "of unknown version" if _supported() else None


@cache
def _supported() -> tuple[int, int] | None:
    """Newest CUDA that the driver's library can run, asked without opening a device."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
