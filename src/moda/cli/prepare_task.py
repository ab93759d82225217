"""``moda prepare-task``: one task of a preparation, as the jobs of a cluster call it."""

import signal
import sys
from pathlib import Path
from types import FrameType

from moda.errors import Preempted

USAGE = "usage: moda prepare-task DATASET INDEX | finish"


def main(argv: list[str]) -> int:
    """INDEX: read the videos of one task. finish: write the shards when all of them have been read."""
    if len(argv) != 2 or not (argv[1].isdigit() or argv[1] == "finish"):
        print(USAGE, file=sys.stderr)
        return 2
    from moda.data_prep.pipeline import finish_planned, run_planned

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)
    out = Path(argv[0])
    if argv[1] == "finish":
        finish_planned(out)
    else:
        run_planned(out, int(argv[1]))
    return 0


def _stop(number: int, _: FrameType | None) -> None:
    raise Preempted(number)
