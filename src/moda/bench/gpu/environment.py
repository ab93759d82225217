"""The machine itself: versions, products of matrices, bandwidths; and the tests that need its GPU."""

import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting
from moda.gpus import open_gpu, stack
from moda.training.distributed.resources import cores
from moda.training.tracking.facts import environment as machine
from moda.training.tracking.flops import known_peak
from moda.training.tracking.gemm import best_time, gemm_rate, square_rate, synchronize

NEEDED = ("lightning", "hydra-core", "webdataset", "safetensors", "deepspeed", "triton", "pytest")
COPIED = {"cuda": 2**32, "cpu": 2**26}  # bytes
SHAPES = ((5120, 768, 3072), (20480, 768, 3072), (20480, 3072, 768))  # MLPs of moda_b at batch 64 and 256, one stream
SECONDS = {"cuda": 0.3, "cpu": 0.05}
TAIL = 15  # lines of what pytest says


def environment(setting: Setting, results: Results) -> None:
    """Versions first, for they hold whatever fails after them."""
    print(stack(), flush=True)
    results.fact(**machine(), stack=str(stack()), packages_here={name: _version(name) for name in NEEDED})
    device = setting.device
    if device.type == "cuda":
        with results.attempt("opening the GPU"):
            results.fact(gpu=str(open_gpu(0)), devices=torch.cuda.device_count(), **_cuda(device))
    seconds = SECONDS[setting.kind]
    for dtype in setting.variants((torch.bfloat16, torch.float16, torch.float32)):
        with results.attempt(f"product in {dtype}"):
            rate = square_rate(device, dtype, seconds)
            results.row(what=f"square product, {_name(dtype)}", tflops=rate / 1e12)
    for shape in setting.variants(SHAPES):
        with results.attempt(f"product of {shape}"):
            rate = gemm_rate(*shape, device, torch.bfloat16, seconds)
            results.row(what=f"product {' x '.join(map(str, shape))}, bfloat16", tflops=rate / 1e12)
    for what, rate in _bandwidths(device, COPIED[setting.kind], seconds).items():
        results.row(what=what, gb_per_second=rate / 1e9)


def tests(setting: Setting, results: Results) -> None:
    """What pytest says of the tests that are marked ``gpu``."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfE", "-p", "no:cacheprovider", "tests/gpu"]
    began = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, flush=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    results.fact(status=done.returncode, seconds=time.perf_counter() - began, folder=str(Path.cwd()))
    for line in lines[-TAIL:]:
        results.note(line)
    if done.returncode:
        raise RuntimeError(f"pytest ended with status {done.returncode}: {lines[-1] if lines else 'no output'}")


def _cuda(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "memory_gib": properties.total_memory / 2**30,
        "multiprocessors": properties.multi_processor_count,
        "data_sheet_bf16_tflops": (known_peak(device, "bf16-mixed") or float("nan")) / 1e12,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),  # type: ignore[attr-defined]
        "cores": cores(),
        "shared_memory_gib": _shared_memory() / 2**30,
    }


def _bandwidths(device: torch.device, size: int, seconds: float) -> dict[str, float]:
    """Bytes a second: read and written by a copy on the device, sent to it from pinned memory, read back."""
    a, b = (torch.empty(size // 4, device=device) for _ in range(2))
    a.zero_()
    found = {"copy on the device, read and written": 2 * size / best_time(lambda: b.copy_(a), device, seconds)}
    if device.type == "cuda":
        host = torch.empty(min(size, 2**30) // 4, pin_memory=True)
        sent = a[: len(host)]
        count = host.numel() * 4
        found["from pinned memory"] = count / best_time(lambda: sent.copy_(host, non_blocking=True), device, seconds)
        found["to pinned memory"] = count / best_time(lambda: host.copy_(sent, non_blocking=True), device, seconds)
    synchronize(device)
    return found


def _shared_memory() -> int:
    status = os.statvfs("/dev/shm")
    return status.f_frsize * status.f_blocks


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
