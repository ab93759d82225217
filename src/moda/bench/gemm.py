"""How fast this device multiplies matrices: what MFU is measured against."""

import time
from collections.abc import Callable

import torch
from torch import nn

SQUARE = {"cuda": 8192, "cpu": 1024}  # side of a product large enough that nothing but arithmetic counts


def gemm_rate(rows: int, inward: int, outward: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Operations a second of (rows, inward) @ (inward, outward): the best of about ``seconds`` of tries."""
    a = torch.randn(rows, inward, device=device, dtype=dtype)
    b = torch.randn(inward, outward, device=device, dtype=dtype)
    out = torch.empty(rows, outward, device=device, dtype=dtype)
    once = best_time(lambda: torch.matmul(a, b, out=out), device, seconds)
    return 2 * rows * inward * outward / once


def measured_peak(network: nn.Module, rows: int, device: torch.device, dtype: torch.dtype, seconds: float = 1.0):
    """(best rate of a large square product and of the network's own largest, that of its own alone).

    rows: tokens of a micro-batch. A network cannot do better than its own products do.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    largest = max(layers, key=lambda layer: layer.weight.numel())
    side = SQUARE[device.type]
    own = gemm_rate(rows, largest.in_features, largest.out_features, device, dtype, seconds / 2)
    return max(own, gemm_rate(side, side, side, device, dtype, seconds / 2)), own


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
