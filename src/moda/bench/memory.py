"""The most memory in use at once while something runs."""

import resource
from pathlib import Path
from typing import Any

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Context manager; ``bytes`` is the peak inside: allocated on a GPU, else resident in this process.

    Where the resident peak cannot be set back (it can on Linux), it is that since the process began.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.bytes = 0.0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif RESET.exists():
            try:
                RESET.write_text("5")  # proc(5): sets the peak back to what is resident now
            except OSError:  # not allowed in this container; the peak is the process's
                self.bytes = 0.0
        return self

    def __exit__(self, *_: Any) -> None:
        if self.device.type == "cuda":
            self.bytes = float(torch.cuda.max_memory_allocated(self.device))
        else:
            self.bytes = resident_peak()


def resident_peak() -> float:
    """Bytes."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
