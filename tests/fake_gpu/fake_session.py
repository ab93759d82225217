"""A fake GPU in a torch that has none: its tensors have shape, type and device, and no content.

A kernel that gets tensors of two devices raises, as on a GPU; what the host waits for is noted (``Watch``).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.utils._foreach_utils
from fake_device import CAST_WEIGHTS, GPU
from fake_watch import Watch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor


@contextmanager
def fake_gpu() -> Iterator[Watch]:
    """A block in which tensors and modules can be moved to ``GPU``."""
    watch = Watch()  # imports a part of torch: before anything is replaced
    foreach = torch.utils._foreach_utils
    with ExitStack() as stack:
        for owner, name, value in (
            (torch, "Generator", _generator),
            (torch, "randn", _without_generator(torch.randn)),
            (torch, "rand", _without_generator(torch.rand)),
            (torch, "clear_autocast_cache", CAST_WEIGHTS.clear),  # what autocast calls where it ends
            (torch.Tensor, "numpy", _zeros_of_fakes(torch.Tensor.numpy)),
            (torch.Tensor, "new_tensor", _new_tensor),
            (nn.Module, "to", move),
            (foreach, "_foreach_supported_types", [*foreach._foreach_supported_types, FakeTensor]),
        ):
            stack.enter_context(patch.object(owner, name, value))
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes them on the host and copies, which is seen
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        yield stack.enter_context(watch)


class FakeGenerator:
    """A generator of the device, which draws nothing."""

    device = GPU

    def manual_seed(self, seed: int) -> "FakeGenerator":
        return self


_real_generator = torch.Generator


def _generator(device: torch.device | str = "cpu") -> Any:
    return FakeGenerator() if torch.device(device).type == GPU.type else _real_generator(device)


def _without_generator(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def drawn(*args: Any, **kwargs: Any) -> torch.Tensor:
        if isinstance(kwargs.get("generator"), FakeGenerator):
            kwargs.pop("generator")
        return draw(*args, **kwargs)

    return drawn


def _new_tensor(self: torch.Tensor, data: Any, *, dtype: torch.dtype | None = None, **settings: Any) -> torch.Tensor:
    return torch.tensor(data, dtype=dtype or self.dtype, **{"device": self.device, **settings})


def _zeros_of_fakes(numpy: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """``Tensor.numpy``, which takes what was copied from the device for zeros."""

    def values(self: torch.Tensor, *args: Any, **kwargs: Any) -> np.ndarray:
        if not isinstance(self, FakeTensor):
            return numpy(self, *args, **kwargs)
        if self.device.type == GPU.type:
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        return np.zeros(self.shape, numpy(torch.empty(0, dtype=self.dtype)).dtype)

    return values


def move(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """``nn.Module.to`` with new parameters, for torch cannot swap in fake ones; what is on meta becomes empty."""
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        to = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        if tensor.is_meta:
            return torch.empty(tensor.shape, dtype=to, device=device)
        return tensor.detach().to(device, to)

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(moved(parameter), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = moved(buffer)
        if device is not None and hasattr(part, "_device"):  # where a Lightning module believes to be
            part._device = device  # type: ignore[assignment]
    return module
