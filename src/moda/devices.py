"""Devices that work is done on, and how exactly they multiply."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moda.errors import UserError


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; any other name must be usable here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here ({reason}); try device cpu or auto") from error
    return device


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Inside, float32 convolutions and products on a GPU keep all 24 bits of their inputs; TF32, torch's default, keeps 11.

    The switches belong to the process: on other devices they stay as they are.
    """
    if device.type != "cuda":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
