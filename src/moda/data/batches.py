"""Batches whose tensors lie in one piece of memory, so that one process can hand them to another as one."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.utils.data import get_worker_info

ALIGNMENT = 64  # bytes

Batch = dict[str, Any]


def allocate(wanted: Mapping[str, tuple[Sequence[int], torch.dtype]]) -> dict[str, torch.Tensor]:
    """Tensors of these shapes and types, not filled yet, side by side in one memory: name -> tensor."""
    sizes = [torch.Size(shape).numel() * dtype.itemsize for shape, dtype in wanted.values()]
    ends = list(accumulate(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes))
    content = _memory(ends[-1])
    starts = [0, *ends[:-1]]
    return {
        name: content[start : start + size].view(dtype).view(*shape)
        for (name, (shape, dtype)), start, size in zip(wanted.items(), starts, sizes, strict=True)
    }


def _memory(size: int) -> torch.Tensor:
    """(size,) bytes. In a reader process they are shared from the start, as those of torch's own collate."""
    if get_worker_info() is None:
        return torch.empty(size, dtype=torch.uint8)
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))


class Packed(NamedTuple):
    """A batch on its way. places: name -> (first byte, byte after the last, type, shape) in ``content``."""

    content: torch.Tensor
    places: dict[str, tuple[int, int, torch.dtype, list[int]]]
    others: Batch


def pack(batch: Batch) -> Packed | Batch:
    """The batch as one tensor, if it was allocated as one: each further tensor would need a connection of its own."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in tensors.values()}
    if len(storages) != 1:
        return batch
    places = {}
    for name, value in tensors.items():
        start = value.storage_offset() * value.itemsize
        places[name] = (start, start + value.nbytes, value.dtype, list(value.shape))
    content = torch.empty(0, dtype=torch.uint8).set_(next(iter(storages.values())))
    return Packed(content, places, {name: value for name, value in batch.items() if name not in tensors})


def unpack(packed: Packed | Batch) -> Batch:
    """The batch again; its tensors share the memory they were handed over in."""
    if not isinstance(packed, Packed):
        return packed
    content = packed.content
    tensors = {name: content[a:b].view(dtype).view(*shape) for name, (a, b, dtype, shape) in packed.places.items()}
    return tensors | packed.others
