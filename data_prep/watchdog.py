"""Ending a process in which nothing goes on: a decoder that hangs cannot be asked to stop."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Self

STALLED = 87  # exit status
GRACE = 30.0  # seconds more for native code that never lets Python run


class Watchdog:
    """Context manager that ends this process when ``beat`` has not been called for ``seconds``.

    on_stall: what is still to be written down, called from the watchdog's own thread. Code that keeps even
    that thread from running ends without it, ``GRACE`` seconds later. 0 seconds: never.
    """

    def __init__(self, seconds: float, on_stall: Callable[[], None]):
        self.seconds, self.on_stall = seconds, on_stall
        self._last = time.monotonic()
        self._done = threading.Event()

    def beat(self) -> None:
        """Something has gone on."""
        now = time.monotonic()
        if self.seconds and now - self._last > 1:
            faulthandler.dump_traceback_later(self.seconds + GRACE, exit=True, file=sys.__stderr__)
        self._last = now

    def __enter__(self) -> Self:
        if self.seconds:
            faulthandler.dump_traceback_later(self.seconds + GRACE, exit=True, file=sys.__stderr__)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self.seconds:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._done.wait(min(self.seconds / 4, 1.0)):
            if time.monotonic() - self._last > self.seconds:
                self.on_stall()
                os._exit(STALLED)
