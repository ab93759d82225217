"""Stalls of a training by its checkpoints: written while it waits, and in the background."""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda.training.run import train
from moda.training.tracking.metrics import METRICS_NAME, read_metrics

EVERY = 4  # steps between two saves


def measure_checkpoints(config: Mapping[str, Any], saves: int) -> dict[str, Any]:
    """Train ``config`` (conf/train.yaml, resolved) for ``saves`` checkpoints either way.

    Returns for ``waiting`` and ``background`` the seconds of every stall but the first, which allocates memory, and
    their median; a step's milliseconds; the bytes of a checkpoint.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        for name, background in (("waiting", False), ("background", True)):
            run_dir = Path(folder) / name
            train(_settings(config, run_dir, saves + 1, background))
            lines = read_metrics(run_dir / METRICS_NAME)
            stalls = [line["speed/checkpoint_stall"] for line in lines if "speed/checkpoint_stall" in line][1:]
            found[name] = {"stalls": stalls, "median": statistics.median(stalls)}
            steps = [line["speed/step_ms"] for line in lines if "speed/step_ms" in line]
            found["step_ms"] = statistics.median(steps)
            (newest, *_) = sorted((run_dir / "checkpoints").glob("step-*"), reverse=True)
            found["bytes"] = sum(path.stat().st_size for path in newest.iterdir())
    return found


def _settings(config: Mapping[str, Any], run_dir: Path, saves: int, background: bool) -> dict[str, Any]:
    # the last step is saved too, and waited for: it comes apart from the others
    trainer = {"max_steps": EVERY * saves + 1, "val_check_interval": None, "log_every_n_steps": 1}
    return {
        **config,
        "name": run_dir.name,
        "run_dir": str(run_dir),
        "trainer": {**config["trainer"], **trainer, "limit_val_batches": 0},
        "checkpoint": {"every": EVERY, "keep": 2, "background": background},
        "preview": {**config["preview"], "every": 0},
    }
