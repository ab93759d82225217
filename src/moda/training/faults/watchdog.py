"""A rank that hangs says where, and ends, instead of holding its machines until the time limit."""

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

import lightning as L

from moda.errors import HANG, UserError

LAST_RESORT = 60  # seconds after the time-out, for a thread that cannot run or a file that cannot be written


class Watchdog(L.Callback):
    """Ends this process with status 86 when nothing has happened for ``timeout`` seconds (0: never).

    Every batch of training or validation and every checkpoint is a beat; until the first step is done
    ``first`` seconds are allowed, for compiling and filling caches. The stacks of all threads go to
    stderr and to ``directory``/rank-R.txt. It works while the main thread waits in C code, as in a
    collective operation whose other side is gone. Where that code keeps Python's lock as well, Python's own
    timer writes the stacks ``LAST_RESORT`` seconds later and ends the process, with status 1.
    """

    def __init__(self, directory: str | Path, timeout: float, first: float):
        if timeout < 0 or (timeout and first < timeout):
            raise UserError(f"watchdog.timeout={timeout}, watchdog.first={first}: needs 0 <= timeout <= first")
        self.directory, self.timeout, self.first = Path(directory), timeout, first
        self._rank = 0
        self._children: list[Any] = []
        self._allowed = first
        self._last, self._doing = time.monotonic(), "setting up"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._rank = trainer.global_rank
        # the other ranks, where Lightning has started them from this process
        self._children = getattr(trainer.strategy.launcher, "procs", [])
        self.start()

    def start(self) -> None:
        """Watch from now on."""
        if self.timeout and self._thread is None:
            self.beat("setting up")
            self._stopped.clear()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None

    def beat(self, doing: str) -> None:
        """Something has happened; ``doing`` says what comes now."""
        self._last, self._doing = time.monotonic(), doing

    def _watch(self) -> None:
        while not self._stopped.wait(min(self._allowed / 4, 5)):
            silent = time.monotonic() - self._last
            if silent > self._allowed:
                self._end(silent)
            faulthandler.dump_traceback_later(self._allowed + LAST_RESORT, exit=True)
        faulthandler.cancel_dump_traceback_later()

    def _end(self, silent: float) -> None:
        """Write the stacks, end the children and this process. Nothing here waits for a lock."""
        faulthandler.dump_traceback_later(LAST_RESORT, exit=True)  # a file system may be what hangs
        path = self.directory / f"rank-{self._rank}.txt"
        line = f"rank {self._rank} has made no progress for {silent:.0f} s while {self._doing}"
        self._dump(sys.stderr, line)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as file:
                self._dump(file, f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {line}")
            where = f"the stacks of its threads are in {path}"
        except OSError as error:
            where = f"{path} cannot be written ({error.strerror})"
        os.write(2, f"moda train: {line}; {where}; ending with status {HANG}\n".encode())
        for child in [*multiprocessing.active_children(), *self._children]:
            child.kill()
        os._exit(HANG)

    def _dump(self, file: TextIO, line: str) -> None:
        file.write(f"{line}\n")
        file.flush()
        faulthandler.dump_traceback(file, all_threads=True)
        file.flush()

    def on_train_start(self, *_: Any) -> None:
        self.beat("reading the first batch")

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.beat(f"training step {trainer.global_step + 1}")

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._allowed = self.timeout
        self.beat(f"saving, drawing or reading after step {trainer.global_step}")

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.beat(f"validating after step {trainer.global_step}")

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.beat(f"reading after the validation of step {trainer.global_step}")

    def on_save_checkpoint(self, trainer: L.Trainer, *_: Any) -> None:
        self.beat(f"saving step {trainer.global_step}")

    def on_train_end(self, *_: Any) -> None:
        self.beat("ending")

    def on_exception(self, *_: Any) -> None:
        self.stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.stop()
