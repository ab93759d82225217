"""Ending a trial early that does worse than others did at the same step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moda.sweep.ledger import Status
from moda.sweep.search import PRUNED, Search, optuna_module


@contextmanager
def pruned(search: Search, status: Status, run_dir: Path, every: float = 5.0) -> Iterator[None]:
    """While the body trains in ``run_dir``, look every few seconds at what it has recorded.

    A trial that the pruner gives up is marked in the study and asked to stop with SIGTERM, as a cluster
    would: its ranks agree, save and leave with status 85.
    """
    if search.settings.pruner == "none":
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(search, status, run_dir, every, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(search: Search, status: Status, run_dir: Path, every: float, ended: threading.Event) -> None:
    assert status.number is not None
    study = search.study("watch")
    frozen = study.trials[status.number]
    trial = optuna_module().trial.Trial(study, frozen._trial_id)
    reported = set(frozen.intermediate_values)
    while not ended.wait(every):
        for step, value in search.series(run_dir).items():
            if step not in reported:
                trial.report(value, step)
                reported.add(step)
        if trial.should_prune():
            trial.set_user_attr(PRUNED, True)
            os.kill(os.getpid(), signal.SIGTERM)
            return
