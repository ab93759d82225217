"""How long training steps take, as seen by Lightning's profiler hooks."""

import time

from lightning.pytorch.profilers import Profiler

FETCH = "[_TrainingEpochLoop].train_dataloader_next"


class StepClock(Profiler):
    """Seconds spent on training steps, and those of them spent on waiting for the next batch.

    It runs from the moment a batch is asked for until ``pause``, so validation, previews and checkpoints
    are left out. Two readings of a clock a batch; it waits for no device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = self.waiting = 0.0
        self._began: float | None = None
        self._asked = 0.0

    def start(self, action_name: str) -> None:
        if action_name == FETCH:
            self._asked = time.perf_counter()
            if self._began is None:
                self._began = self._asked

    def stop(self, action_name: str) -> None:
        if action_name == FETCH:
            self.waiting += time.perf_counter() - self._asked

    def pause(self) -> None:
        """The step is over; what follows does not count until the next batch is asked for."""
        if self._began is not None:
            self.training += time.perf_counter() - self._began
            self._began = None

    def restart(self) -> None:
        """Forget what was measured; a running clock goes on from now."""
        self.training = self.waiting = 0.0
        if self._began is not None:
            self._began = time.perf_counter()
