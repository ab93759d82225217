"""One training at a time in a run directory."""

import errno
import fcntl
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from moda.errors import UserError

LOCK_NAME = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that are mounted without them


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Inside, no other process trains in ``run_dir``, on this machine or on another that shares it.

    Raises UserError that names the holder where there is one. The lock is the kernel's and ends with the
    process, however that ends, so what is written in ``LOCK_NAME`` only tells who holds it. It is a POSIX
    lock: unlike one of flock, network file systems pass it on to other machines, and data workers that
    outlive a killed rank have not inherited it.
    """
    with _open(run_dir / LOCK_NAME) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise UserError(
                    f"{run_dir} is being trained already{_holder(file)}; wait for it or end it, or give another name=..."
                ) from error
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"{run_dir} lies on a file system without locks: make sure that no other training runs in it",
                stacklevel=2,
            )
        _sign(file)
        yield


def _open(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another run_dir=...") from error


def _sign(file: TextIO) -> None:
    """Write who holds the lock."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        file.truncate(0)
        json.dump({"host": os.uname().nodename, "pid": os.getpid(), "job": job, "since": since}, file)
        file.flush()
    except OSError as error:
        raise UserError(
            f"cannot write {file.name}: {error.strerror}; free space or choose another run_dir=..."
        ) from error


def _holder(file: TextIO) -> str:
    """Who has written the file, in words; nothing where the holder has not got that far."""
    file.seek(0)
    try:
        holder = json.load(file)
        job = f" (SLURM job {holder['job']})" if holder["job"] else ""
        return f" by process {holder['pid']} on {holder['host']}{job} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return ""
