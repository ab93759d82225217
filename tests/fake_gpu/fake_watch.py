"""What runs on the fake GPU: launches of kernels, waits of the host for it, copies to it."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from fake_device import GPU
from fake_kernels import FUSED
from fake_tensors import Fakes
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorDeviceMismatchError
from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result depends on values of their arguments.
READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
MASKS = (torch.bool, torch.uint8)
COPIES = ("_to_copy", "copy_")
# Operators that launch nothing although they are no views by their schema.
NO_LAUNCH = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "_local_scalar_dense")
TWO_LAUNCHES = ("select_backward", "slice_backward")  # zeros, and a copy into them
WHOLE = (*FUSED, "scaled_dot_product_attention")  # a kernel here, although torch could take them apart


@dataclass
class Phase:
    """What runs in a part of a block.

    launches: by operator; one that is no view, on a tensor of the device, counts once, on a list of them too.
    waits: of the host for the device, to read a value or for a copy to end; copies: to the device, that nothing waits
    for. Both by what and where in moda.
    """

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)


class Watch(TorchDispatchMode):
    """Runs operators and notes those of the device; what is of the host alone is real, and runs as ever.

    phases: notes by name, see ``phase``. A value that is read is 0 and a mask takes everything, so that one wait does
    not hide the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fakes = Fakes()
        self.phases: dict[str, Phase] = {}
        self._now = self._named("start")

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """A block whose notes go by this name."""
        before, self._now = self._now, self._named(name)
        try:
            yield self._now
        finally:
            self._now = before

    def _named(self, name: str) -> Phase:
        return self.phases.setdefault(name, Phase())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what torch would wrap around each call takes as long as the call

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "device":  # C++ asks so for the device of a fake
            return args[0].fake_device
        values = list(_leaves((*args, *kwargs.values())))
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        to_gpu = any(isinstance(value, torch.device) and value.type == GPU.type for value in values)
        if not to_gpu and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return func(*args, **kwargs)
        if name not in WHOLE and _is_composite(func):  # they come whole in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        if to_gpu or any(tensor.device.type == GPU.type for tensor in tensors):
            self._note(func, name, values, tensors, kwargs)
        if name == "_local_scalar_dense":
            return torch.zeros((), dtype=tensors[0].dtype).item()
        if name in INDEXING:
            args = (args[0], _without_masks(args[1]), *args[2:])
        return self.fakes.run(func, types, args, kwargs)

    def _note(self, func: Any, name: str, values: list[Any], tensors: list[torch.Tensor], kwargs: Any) -> None:
        if not func.is_view and name not in NO_LAUNCH:
            self._now.launches[name] += 1 + (name in TWO_LAUNCHES)
        if name in READS:
            self._now.waits[f"{name} in {place()}"] += 1
        if name in INDEXING:
            self._note_indexing(func, tensors[0], tensors[1:])
        if name in COPIES:
            target = torch.device(kwargs.get("device") or tensors[0].device)
            blocking = not (kwargs.get("non_blocking") or any(value is True for value in values))
            self._note_copy(tensors[-1].device, target, blocking)

    def _note_indexing(self, func: Any, tensor: torch.Tensor, indices: list[torch.Tensor]) -> None:
        if tensor.device.type != GPU.type:
            raise FakeTensorDeviceMismatchError(func, tensor.device, GPU)
        if any(index.dtype in MASKS for index in indices):
            self._now.waits[f"mask in {place()}"] += 1
        if any(index.device.type != GPU.type for index in indices):
            self._now.waits[f"index of the host in {place()}"] += 1

    def _note_copy(self, source: torch.device, target: torch.device, blocking: bool) -> None:
        if source.type != target.type:
            waits = blocking or target.type != GPU.type  # the other way needs pinned memory and an event
            (self._now.waits if waits else self._now.copies)[f"copy in {place()}"] += 1


def place() -> str:
    """The innermost function of moda that runs, as module.function; of a comprehension the one that it is in."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("moda."):
            function = re.sub(r"(\.<locals>\.<\w+>)+$", "", frame.f_code.co_qualname)
            return f"{module.removeprefix('moda.')}.{function}"
        frame = frame.f_back
    return "no function of moda"


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _without_masks(indices: Any) -> list[torch.Tensor | None]:
    """The same with each mask as the places that it may take, which are all."""
    found: list[torch.Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in MASKS:
            found.append(index)
        else:
            found += [index.reshape(-1).long()] * index.dim()
    return found


@cache
def _is_composite(func: Any) -> bool:
    return func._can_decompose()
