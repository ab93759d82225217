"""Folders of checkpoints: which are there, which are whole, and the manifest that seals one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moda.errors import UserError
from moda.files import read_json, sha256_of, write_json

MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d+)")

Files = dict[str, dict[str, Any]]  # name -> {"bytes", "sha256"}


def files_of_rank(directory: Path, rank: int) -> list[Path]:
    """The files that ``rank`` has written: KIND-RRRRR.*, and for rank 0 those without a rank in their name.

    Hidden ones are another rank's, in the middle of being written, and will be renamed.
    """
    numbered = {path: path.stem.rpartition("-")[2] for path in sorted(directory.iterdir()) if path.name[0] != "."}
    return [path for path, number in numbered.items() if (int(number) if number.isdigit() else 0) == rank]


def describe(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def seal(directory: Path, step: int, identity: dict[str, Any], files: Files) -> None:
    """Write the manifest, the last file of a checkpoint."""
    write_json(directory / MANIFEST, {"step": step, "identity": identity, "files": files})


def damage(directory: Path, hashes: bool = True) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as the manifest says; sizes alone without ``hashes``."""
    if not (directory / MANIFEST).is_file():
        return f"it has no {MANIFEST}"
    try:
        for name, known in read_json(directory / MANIFEST)["files"].items():
            path = directory / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != known["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {known['bytes']}"
            if hashes and sha256_of(path) != known["sha256"]:
                return f"{name} does not have the hash it was written with"
    except (UserError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    return None


def by_step(directory: str | Path) -> list[Path]:
    """Checkpoint directories, newest first."""
    if not Path(directory).is_dir():
        return []
    found = [(int(match[1]), path) for path in Path(directory).iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def newest_complete(directory: str | Path, say: Callable[[str], None] = print, hashes: bool = True) -> Path | None:
    """The newest undamaged checkpoint; each one passed over is named in a line with the reason."""
    for path in by_step(directory):
        reason = damage(path, hashes)
        if reason is None:
            return path
        say(f"ignoring checkpoint {path}: {reason}")
    return None
