"""How a process that trains as one of several tells its parent why it ended, so that it is said once."""

import os
from collections.abc import Iterable
from pathlib import Path

from moda.errors import LostRank, Preempted, UserError
from moda.files import read_json, write_json

OUTCOME = "MODA_OUTCOME"  # the variable that names the file


def leave_outcome(error: BaseException) -> bool:
    """Leave ``error`` to the parent; False where there is no such parent."""
    path = os.environ.get(OUTCOME)
    if path is None:
        return False
    if isinstance(error, Preempted):
        write_json(path, {"signum": error.signum, "step": error.step})
    else:
        write_json(path, {"line": str(error), "lost": isinstance(error, LostRank)})
    return True


def read_outcomes(paths: Iterable[Path]) -> list[Preempted | UserError]:
    """What the processes have left, the cause first; lines that are equal are one error, others are joined."""
    values = [read_json(path) for path in paths if path.is_file()]
    stopped = [Preempted(value["signum"], value["step"]) for value in values if "signum" in value]
    errors = [value for value in values if value.get("line")]
    causes = [value for value in errors if not value["lost"]] or errors
    lines = dict.fromkeys(value["line"] for value in causes)
    return [*([UserError("; ".join(lines))] if lines else []), *stopped]
