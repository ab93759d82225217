"""Finding a weight on this machine and checking that it is the file it should be."""

import contextlib
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

from moda.errors import UserError
from moda.files import sha256_of
from moda.weights.registry import Weight, get_weight


class Located(NamedTuple):
    """Where a weight lies: its path and which of the three places that is."""

    path: Path
    place: str


def cache_dir() -> Path:
    """Where moda keeps what it downloads: $XDG_CACHE_HOME/moda, by default ~/.cache/moda."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moda"


def cached_path(weight: Weight) -> Path:
    """Where ``moda weights add`` and ``get`` put a weight."""
    return cache_dir() / "weights" / weight.filename


def find(name: str) -> Path:
    """Path of the weight called ``name``, its hash checked.

    Looks in $MODA_WEIGHTS, then the user cache, then the packaged copy. Raises UserError for an
    unknown name, a weight that is nowhere, or a file whose content is not the registered one.
    """
    weight = get_weight(name)
    located = locate(name)
    if located is None:
        package = f", or `{weight.packaged.command}`, which ships it" if weight.packaged else ""
        raise UserError(
            f"{weight.filename} ({weight.purpose}) is not on this machine: run `moda weights get {name}`{package}"
        )
    check(weight, located.path)
    return located.path


def locate(name: str) -> Located | None:
    """Like ``find``, without the check of the content; None where the weight is nowhere."""
    weight = get_weight(name)
    directory = os.environ.get("MODA_WEIGHTS")
    if directory:
        if not Path(directory).is_dir():
            raise UserError(f"MODA_WEIGHTS={directory} is not a directory; create it or unset the variable")
        if (path := Path(directory) / weight.filename).exists():
            return Located(path, "MODA_WEIGHTS")
    if (path := cached_path(weight)).exists():
        return Located(path, "cache")
    if (path := _packaged_path(weight)) is not None and path.exists():
        return Located(path, "package")
    return None


def check(weight: Weight, path: Path) -> None:
    """Raise UserError unless ``path`` holds the registered content.

    A version of a file (path, size, time of change) is hashed once and remembered in the user
    cache. A weight without a registered hash is only checked to be there.
    """
    file = path / weight.probe if weight.probe else path
    if not file.is_file():
        raise UserError(f"{weight.name}: {file} is missing; replace it by that of `moda weights get {weight.name}`")
    if weight.sha256 is None:
        return
    status = file.stat()
    version = f"{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{weight.sha256}"
    marker = cache_dir() / "verified" / hashlib.sha256(version.encode()).hexdigest()
    if marker.exists():
        return
    actual = sha256_of(file)
    if actual != weight.sha256:
        raise UserError(
            f"{weight.name}: {file} is not the registered file (sha256 {actual[:12]}..., expected "
            f"{weight.sha256[:12]}...); replace it by the one of `moda weights get {weight.name}`"
        )
    with contextlib.suppress(OSError):  # a read-only home costs a hash a process, nothing else
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _packaged_path(weight: Weight) -> Path | None:
    """Path inside the installed package; the package is located, not imported."""
    if weight.packaged is None:
        return None
    spec = importlib.util.find_spec(weight.packaged.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / weight.packaged.path
