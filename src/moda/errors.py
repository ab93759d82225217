"""The errors that end a command with one line instead of a traceback, and the exit statuses they stand for."""

import signal
from collections.abc import Sequence

PREEMPTED, HANG = 85, 86  # exit statuses a batch script answers by starting the same command again


class UserError(ValueError):
    """Input or a setting is wrong. The message says what, where, and what to do.

    The command line prints it as one line and exits with status 1; a programming error keeps its
    traceback.
    """


def first_of(texts: Sequence[str], most: int) -> str:
    """The first ``most`` of many, as a message names them: "a, b and 3 more"."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def first_line(error: BaseException) -> str:
    """What an error of a library says first, on one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__


class LostRank(UserError):
    """Another process of the training is gone, and why only that one can say."""


class Preempted(Exception):
    """A signal has stopped a training after all that it knew was saved: the same command goes on.

    signum: the signal. step: updates done, None where training had not begun. Exit status 85.
    """

    def __init__(self, signum: int, step: int | None = None):
        super().__init__(signum, step)
        self.signum, self.step = signum, step

    def __str__(self) -> str:
        where = "before training began" if self.step is None else f"after saving step {self.step}"
        return f"stopped by {signal.Signals(self.signum).name} {where}; run the same command again to go on"
