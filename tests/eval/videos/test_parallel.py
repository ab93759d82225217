import os
import signal
from pathlib import Path

import pytest

from moda.errors import UserError
from moda.eval.videos.parallel import for_each


def write(path: Path) -> None:
    if path.stem.startswith("bad"):
        raise UserError(f"{path.name} is bad")
    if path.stem == "dead":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text(str(os.getpid()))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_is_done_and_the_failures_are_named(tmp_path: Path, processes: int) -> None:
    paths = [tmp_path / name for name in ("a", "bad", "b", "bad2")]
    assert for_each(write, paths, processes, "writing") == {1: "bad is bad", 3: "bad2 is bad"}
    pids = {paths[i].read_text() for i in (0, 2)}
    assert (pids == {str(os.getpid())}) == (processes == 1)


def test_a_process_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of 2 processes died"):
        for_each(write, [tmp_path / "dead", tmp_path / "a"], 2, "writing")
