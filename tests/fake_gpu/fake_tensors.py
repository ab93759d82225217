"""Operators on tensors of the fake GPU, by shape alone: ``FakeTensorMode``, with a shorter way for most calls.

A step of a transformer is thousands of calls, and torch's own mode takes a third of a millisecond for each.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.utils._pytree import tree_map_only

_PLAIN = object()
_results: dict[Any, Any] = {}  # of functional operators: what they were given, described, to what they returned


class Shape(NamedTuple):
    """All that there is of a fake."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Fakes:
    """Runs operators on fakes; tensors of the host that come with them are taken for fakes of the host."""

    def __init__(self) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.mode.cache_enabled = False  # to look something up there takes longer than to run it

    def run(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Raises what a kernel would that gets tensors of several devices."""
        if func.is_view:
            return self._view(func, args, kwargs)
        if not _is_functional(func):
            return self._run(func, types, args, kwargs)
        given = (func, _described(args), _described(tuple(kwargs.items())))
        if given not in _results:
            _results[given] = _described(self._run(func, types, args, kwargs))
        return self._made(_results[given])

    def _run(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, self._fake, (args, kwargs))
        return self.mode.dispatch(func, types, args, kwargs)

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.mode.from_tensor(tensor)

    def _view(self, func: Any, args: Any, kwargs: Any) -> Any:
        with in_kernel_invocation_manager(self.mode):  # a fake is then the meta tensor inside it
            view = func(*args, **kwargs)
        wrap: Callable[..., Any] = partial(FakeTensor, self.mode, device=args[0].fake_device)
        return wrap(view) if isinstance(view, torch.Tensor) else [wrap(part) for part in view]

    def _made(self, result: Any) -> Any:
        if isinstance(result, Shape):
            content = torch.empty_strided(result.size, result.stride, dtype=result.dtype, device="meta")
            return FakeTensor(self.mode, content, result.device)
        return result[1] if result[0] is _PLAIN else tuple(map(self._made, result))


def _described(value: Any) -> Any:
    """Tensors by their shape, in tuples; what is no tensor with its type, for 1 is not 1.0."""
    if isinstance(value, torch.Tensor):
        return Shape(value.shape, value.stride(), value.dtype, value.device)
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    return (_PLAIN, value, type(value))


@cache
def _is_functional(func: Any) -> bool:
    """Whether it returns new tensors alone."""
    schema = func._schema
    return not (schema.is_mutable or any(returned.alias_info for returned in schema.returns))
