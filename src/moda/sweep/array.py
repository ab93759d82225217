"""Trials as the tasks of one SLURM array job; task i runs trial i."""

from collections.abc import Sequence
from pathlib import Path

from moda.errors import UserError
from moda.slurm.script import Job
from moda.slurm.settings import JobSettings
from moda.sweep.ledger import Ledger


def array_job(
    ledger: Ledger, todo: Sequence[int], jobs: int | None, settings: JobSettings, resources: Sequence[str], typed: str
) -> Job:
    """The job that runs the trials ``todo``, at most ``jobs`` at a time.

    resources: overrides that follow from what the job asks for, the same for all trials.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"sweep.jobs={jobs}: must be at least 1")
    place = ledger.directory.absolute()
    limit = f"%{jobs}" if jobs else ""
    folder = Path(settings.dir) if settings.dir else place / "slurm"
    argv = ("sweep-trial", str(place))
    return Job(settings, folder, place, argv, typed, tuple(resources), f"{ranges(todo)}{limit}")


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as SLURM writes them: 0, 1, 2, 5 is ``0-2,5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
