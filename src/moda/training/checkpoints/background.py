"""A thread that writes one checkpoint while the training goes on."""

import threading
from collections.abc import Callable


class BackgroundWork:
    """One piece of work at a time, in a thread that the process outlives by nothing: it is finished before an exit."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin ``work``; what it raises comes out of ``join``. The one before must have been joined."""
        assert self._thread is None

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._problem = error

        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    @property
    def problem(self) -> BaseException | None:
        """What the work that has ended has raised."""
        return self._problem

    def join(self) -> None:
        """Wait for the work, if there is any, and raise what it has raised."""
        self.wait()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def wait(self) -> None:
        """Wait for the work, if there is any."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
