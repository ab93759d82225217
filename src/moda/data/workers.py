"""Reader processes: deaf to the signals meant for their rank, and one clear line when one fails."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from moda.data.batches import pack, unpack
from moda.errors import UserError

# Sent to every process of a job: the rank answers them, at a step boundary and not here.
FOR_THE_RANK = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

HAND_OVER = 2e-4  # seconds the threads that pass a batch on may wait for the one that reads; 5e-3 by default


class ReaderLoader(DataLoader):
    """A DataLoader of ready batches, read by processes that hand each over as one piece of shared memory.

    Their failures arrive as the one line they have for the user.
    """

    def __init__(self, dataset: Any, *, num_workers: int = 0, prefetch_factor: int | None = None, **settings: Any):
        settings["collate_fn"] = pack if num_workers else _as_it_is
        if num_workers:
            settings |= {"prefetch_factor": prefetch_factor, "worker_init_fn": init_reader, "persistent_workers": True}
        super().__init__(dataset, batch_size=None, num_workers=num_workers, **settings)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        with _held_up(signal.SIGTERM):  # in readers from their birth, for every thread that libraries start in them
            batches: Any = super().__iter__()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                self._end(batches)
                line = user_error_of(error)
                if line is None:
                    raise
                raise line from error
            yield unpack(batch)

    def _end(self, batches: Any) -> None:
        """End the readers now: the garbage collector would take seconds, and torch would report their deaths meanwhile."""
        self._iterator = None
        if self.num_workers:
            batches._shutdown_workers()


@contextmanager
def _held_up(number: signal.Signals) -> Iterator[None]:
    """Inside, the signal waits; processes that are started inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_it_is(batch: Any) -> Any:
    return batch


def user_error_of(error: Exception) -> UserError | None:
    """The line for the user where ``error`` came from a reader process, else None.

    torch reports a reader's exception with its traceback, and a reader that was killed as a
    RuntimeError, which its signal handler may raise anywhere in the training process.
    """
    message = str(error).strip()
    if isinstance(error, UserError) and message.startswith("Caught "):
        return UserError(message.rsplit("\n", 1)[-1].split("Error: ", 1)[-1])
    if message.startswith("DataLoader worker (pid"):
        cause = str(error.__cause__ or error)  # the cause knows the signal
        what = (cause if cause.startswith("DataLoader worker") else message).splitlines()[0].rstrip(". ")
        return UserError(
            f"a process that reads the data died ({what}), often for want of memory; "
            "lower data.num_workers or data.cache_mb, or give the job more memory"
        )
    return None


def init_reader(worker: int) -> None:
    """Make this reader process ignore its rank's signals and compute in one thread."""
    torch.set_num_threads(1)
    sys.setswitchinterval(HAND_OVER)
    for number in FOR_THE_RANK:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """Take SIGTERM from the training process, which ends its readers with it, and from nobody else."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
