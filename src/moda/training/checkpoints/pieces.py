"""Flat pieces of named tensors on disk, so that what one number of ranks wrote another number reads.

    DIRECTORY/KIND-00000.safetensors    what rank 0 held
    DIRECTORY/KIND-00001.safetensors    what rank 1 held ...

Each entry is called ``NAME@START``: consecutive elements of the flattened tensor NAME from START on.
A reader asks for any range of any name and gets it from whichever files hold it. No pickle, and no
trace of the strategy that trained.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from moda.errors import UserError
from moda.files import os_error_of


@dataclass(frozen=True)
class Piece:
    """Elements ``start`` to ``start + len(values)`` of a flattened tensor of ``shape``. values: (n,)."""

    name: str
    shape: tuple[int, ...]
    start: int
    values: torch.Tensor

    @property
    def numel(self) -> int:
        return self.values.numel()


Keep = Callable[[Iterable[Piece]], list[Piece]]  # holds pieces as they are now, or at least until they are written
Write = Callable[[Path], object]  # writes what is held into the directory of a checkpoint


def on_host(pieces: Iterable[Piece]) -> list[Piece]:
    """Copies of ``pieces`` in this machine's memory; from a GPU they are on their way until its stream is waited for."""
    return [replace(piece, values=_host_copy(piece.values)) for piece in pieces]


def _host_copy(values: torch.Tensor) -> torch.Tensor:
    values = values.detach()
    if values.device.type != "cuda":
        return values.clone()
    return torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)


def write_pieces(directory: str | Path, kind: str, rank: int, pieces: Iterable[Piece]) -> Path:
    """Write this rank's file of ``kind``; an OSError says why it cannot be written."""
    pieces = list(pieces)
    path = Path(directory) / f"{kind}-{rank:05d}.safetensors"
    tensors = {f"{piece.name}@{piece.start}": _storable(piece.values) for piece in pieces}
    assert len(tensors) == len(pieces), "two pieces of one rank start at the same element"
    shapes = {piece.name: list(piece.shape) for piece in pieces}
    try:
        save_file(tensors, path, metadata={"shapes": json.dumps(shapes)})
    except safetensors.SafetensorError as error:
        raise os_error_of(error) from error
    os.chmod(path, 0o666 & ~_umask())  # it writes for the owner alone; a group shares its runs
    return path


def _storable(values: torch.Tensor) -> torch.Tensor:
    values = values.detach().reshape(-1).cpu()
    # a view would drag its whole storage along, and safetensors refuses two names for one storage
    return values.clone() if values.untyped_storage().nbytes() != values.nbytes else values


def _umask() -> int:
    mask = os.umask(0)  # there is no way to only look
    os.umask(mask)
    return mask


@dataclass(frozen=True)
class _Entry:
    file: int
    key: str
    start: int
    numel: int


class PieceReader:
    """All files of one ``kind`` in ``directory``, whatever number of ranks wrote them.

    Raises UserError if there is none or one cannot be read.
    """

    def __init__(self, directory: str | Path, kind: str):
        self.where = f"{directory}/{kind}"
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._entries: dict[str, list[_Entry]] = {}
        self._files = [_open(path) for path in sorted(Path(directory).glob(f"{kind}-[0-9]*.safetensors"))]
        if not self._files:
            raise UserError(f"{self.where}-00000.safetensors is missing; resume from another checkpoint")
        for index, file in enumerate(self._files):
            self._note(index, file)

    def _note(self, index: int, file: safetensors.safe_open) -> None:
        shapes = json.loads((file.metadata() or {}).get("shapes", "{}"))
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            name, _, start = key.rpartition("@")
            self.shapes[name] = tuple(shapes[name])
            numel = file.get_slice(key).get_shape()[0]
            self._entries.setdefault(name, []).append(_Entry(index, key, int(start), numel))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str, start: int = 0, numel: int | None = None) -> torch.Tensor:
        """(numel,) elements of ``name`` from ``start`` on, to its end by default.

        Raises UserError where no file holds them.
        """
        if name not in self:
            raise UserError(f"{self.where}: no file holds {name}; the run was saved with another network or optimizer")
        if numel is None:
            numel = math.prod(self.shapes[name]) - start
        parts, position = [], start
        for entry in sorted(self._entries[name], key=lambda entry: entry.start):
            first, last = max(entry.start, position), min(entry.start + entry.numel, start + numel)
            if first == position and last > first:
                values = self._files[entry.file].get_slice(entry.key)
                parts.append(values[first - entry.start : last - entry.start])
                position = last
        if position < start + numel:
            raise UserError(f"{self.where}: elements {position} to {start + numel} of {name} are in no file")
        return torch.cat(parts) if len(parts) != 1 else parts[0]

    def whole(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Every tensor whose name starts with ``prefix``, put together; the prefix is taken off."""
        return {
            name.removeprefix(prefix): self.read(name).reshape(shape)
            for name, shape in self.shapes.items()
            if name.startswith(prefix)
        }


def _open(path: Path) -> safetensors.safe_open:
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); resume from another checkpoint") from error


def whole_pieces(tensors: Mapping[str, torch.Tensor]) -> list[Piece]:
    """Pieces that are whole tensors."""
    return [Piece(name, tuple(value.shape), 0, value.reshape(-1)) for name, value in tensors.items()]
