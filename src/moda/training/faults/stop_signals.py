"""Signals that ask a training to stop. Their handler sets a flag and does nothing else.

Light to import, so that the command line takes the signals before anything slow is loaded.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from moda.errors import Preempted, UserError

DEFAULT = ("SIGTERM", "SIGUSR1")
KNOWN = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")


class StopSignals:
    """``received`` is the first signal that came since ``taking`` was entered, or None."""

    def __init__(self):
        self.received: int | None = None
        self._depth = 0

    @contextmanager
    def taking(self, names: Iterable[str]) -> Iterator[None]:
        """Inside, the signals ``names`` set the flag; their former handlers come back afterwards.

        May be entered again inside with other names: then those alone are taken. Signals that were
        blocked, as a parent does until its child can take them, arrive here.
        """
        wanted = signals_of(names)
        former = {signum: signal.getsignal(signum) for signum in signals_of(KNOWN)}
        for signum, handler in former.items():
            if signum in wanted:
                signal.signal(signum, self._note)
            elif handler == self._note:
                signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals_of(KNOWN))
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            for signum, handler in former.items():
                if handler is not None:  # None: not installed by Python, and then not replaced either
                    signal.signal(signum, handler)
            if not self._depth:
                self.received = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signum


stop_signals = StopSignals()  # handlers belong to the process, and so does this


def signals_of(names: Iterable[str]) -> set[signal.Signals]:
    """UserError for a name that is not one of ``KNOWN``."""
    for name in names:
        if name not in KNOWN:
            raise UserError(f"preemption.signals: {name!r} cannot be taken; choose from {', '.join(KNOWN)}")
    return {signal.Signals[name] for name in names}


def leave_if_alone(processes: int) -> None:
    """Leave at once where training has not begun and nobody waits: raises ``Preempted`` after a signal.

    One of several ranks must not: the others would wait for it. They all leave before the first step.
    """
    if processes == 1 and stop_signals.received is not None:
        raise Preempted(stop_signals.received)
