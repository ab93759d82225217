"""The weights of a TorchScript archive, without running what is in it.

An archive is a zip: ``data.pkl``, a pickle of the module tree, ``data/N``, the bytes of each storage,
and ``code/``, which only ``torch.jit.load`` would execute. The pickle is read with the few names allowed
that tensors and lists need; a class of the archive becomes an inert holder of attributes.
"""

import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
TYPED = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")


class _Node:
    """A module of the archive: its attributes, and none of its code."""


def is_script(path: Path) -> bool:
    """Whether ``path`` is a TorchScript archive rather than a file of ``torch.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).parts[1:2] == ("constants.pkl",) for name in archive.namelist())


def read_script(path: Path) -> dict[str, torch.Tensor]:
    """Dotted name to tensor of every parameter and buffer. Raises pickle.UnpicklingError for foreign content."""
    with zipfile.ZipFile(path) as archive:
        root = PurePosixPath(archive.namelist()[0]).parts[0]
        with archive.open(f"{root}/data.pkl") as stream:
            module = _WeightsUnpickler(stream, archive, root).load()
    return dict(_tensors(module, ""))


class _WeightsUnpickler(pickle.Unpickler):
    """Builds tensors and ``_Node``s; every other name in the pickle is refused."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, root: str):
        super().__init__(stream)
        self._archive, self._root = archive, root
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Node
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _strided
        if module == "torch.jit._pickle" and name in TYPED:
            return _untyped
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: tuple) -> torch.Tensor:
        """("storage", dtype, number, device, elements) to a flat tensor."""
        dtype, number = pid[1], str(pid[2])
        if number not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}/data/{number}"))
            self._storages[number] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[number]


def _strided(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)  # refuses to reach beyond the storage


def _untyped(value: object, *_: object) -> object:
    """A list or dictionary without the TorchScript type that the archive tags it with."""
    return value


def _tensors(node: object, prefix: str):
    for name, value in vars(node).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Node):
            yield from _tensors(value, f"{prefix}{name}.")
