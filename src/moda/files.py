"""Writing files so that a reader never meets half of one, and naming their content."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moda.errors import UserError

# what a place says that cannot be written to; most of it is also said of files that cannot be read
_WRITE_FAILURES = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG,
}  # fmt: skip


class CannotWrite(UserError):
    """The place that is written to is the trouble, whatever is written there."""


@contextmanager
def writing(final: str | Path) -> Iterator[None]:
    """Make of what the system says in the body, which writes ``final``, a ``CannotWrite`` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITE_FAILURES:
            raise  # the body failed at something else, as reading its source
        raise CannotWrite(
            f"cannot write {final}: {error.strerror or error}; free space or choose another place"
        ) from error


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; rename it on success, remove it on any failure.

    Works for a file or a directory that the body creates at the yielded path. The temporary name
    keeps the suffix, so that writers that look at it (video, npz) behave as with the final one.
    A directory already standing at ``final`` is replaced.
    """
    final = Path(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {final.parent}: {error.strerror}; choose another place") from error
    temporary = final.with_name(f".{final.stem}.{os.getpid()}.tmp{final.suffix}")
    remove(temporary)
    try:
        with writing(final):
            yield temporary
            if temporary.is_dir() and final.is_dir():
                remove(final)
            os.replace(temporary, final)
    finally:
        remove(temporary)


def os_error_of(error: Exception) -> OSError:
    """What a full disk is to the safetensors library, whose own error ends in ``(os error 28)``, as an OSError."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON, or say which file is missing or broken."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        return json.loads(path.read_text("utf-8-sig"))  # some editors begin with a byte order mark
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); write it again") from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
