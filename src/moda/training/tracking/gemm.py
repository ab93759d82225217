"""How fast this device multiplies matrices: what MFU is measured against."""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
SQUARES = {"cuda": (1024, 8192)}  # sides of products, up to where nothing but arithmetic counts
SMALL_SQUARES = (256, 512, 1024)
LONG = 0.05  # seconds: a product so slow is large enough


def gemm_rate(rows: int, inward: int, outward: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Operations a second of (rows, inward) @ (inward, outward): the best of about ``seconds`` of tries."""
    own = torch.Generator(device).manual_seed(0)  # a training's random numbers stay as they are
    a = torch.randn(rows, inward, device=device, dtype=dtype, generator=own)
    b = torch.randn(inward, outward, device=device, dtype=dtype, generator=own)
    out = torch.empty(rows, outward, device=device, dtype=dtype)
    once = best_time(lambda: torch.matmul(a, b, out=out), device, seconds)
    return 2 * rows * inward * outward / once


@cache
def square_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.1) -> float:
    """Operations a second of a large square product; measured once a process, in ``seconds`` for each of its sizes."""
    best = 0.0
    for side in SQUARES.get(device.type, SMALL_SQUARES):
        best = max(best, gemm_rate(side, side, side, device, dtype, seconds))
        if 2 * side**3 / best > LONG:
            break
    return best


def dtype_of(precision: str) -> torch.dtype:
    """What the Trainer's ``precision`` multiplies in."""
    return next((dtype for name, dtype in DTYPES.items() if precision.startswith(name)), torch.float32)


def measured_peak(network: nn.Module, rows: int, device: torch.device, dtype: torch.dtype, seconds: float = 1.0):
    """(best rate of a large square product and of the network's own largest, that of its own alone).

    rows: tokens of a micro-batch. A network cannot do better than its own products do.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    largest = max(layers, key=lambda layer: layer.weight.numel())
    own = gemm_rate(rows, largest.in_features, largest.out_features, device, dtype, seconds / 2)
    return max(own, square_rate(device, dtype, seconds / 4)), own


def best_time(action: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The shortest time of ``action`` in seconds; a device is waited for each time."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds or best == float("inf"):
        start = time.perf_counter()
        action()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
