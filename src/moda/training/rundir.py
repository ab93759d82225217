"""The run directory: which configuration it belongs to, and whether a run may go on in it."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only

from moda.errors import UserError
from moda.files import atomic_path
from moda.training.lock import LOCK_NAME, run_lock

CONFIG_NAME = "config.yaml"
# What may stand in a run directory before its first start: the job's script and log, and what a killed start has left.
BEFORE = ("slurm", LOCK_NAME, ".config.*.tmp.yaml")

# Settings that may change between one start and the next: they do not alter what is learnt, or (the
# place of the data) are checked by content instead. max_steps may only grow.
FREE = (
    "run_dir", "name", "resume", "recompute", "logger", "checkpoint", "preview", "watchdog", "preemption", "strategy", "data.path", "data.num_workers",
    "data.cache_mb", "data.prefetch_factor", "data.max_bad_in_a_row", "trainer.max_steps", "trainer.accelerator", "trainer.devices", "trainer.num_nodes",
    "trainer.accumulate_grad_batches", "trainer.log_every_n_steps", "trainer.val_check_interval",
)  # fmt: skip


@contextmanager
def open_run(run_dir: str | Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Create the run directory or enter the one that holds the same configuration; inside, it is ours alone.

    With ``resume: false`` nothing may be there. Raises UserError naming the settings that differ, or the
    process that trains there. Of several processes the first one does it: under srun they start together,
    and would meet its files.
    """
    run_dir = Path(run_dir)
    if rank_zero_only.rank:
        yield run_dir
        return
    path = run_dir / CONFIG_NAME
    if not path.is_file() and _holds_something_else(run_dir):
        raise UserError(
            f"{run_dir} is not empty and holds no run ({CONFIG_NAME} is missing); give another name=... or run_dir=..."
        )
    _check_room(run_dir)
    with run_lock(run_dir):
        if path.is_file():
            if not config["resume"]:
                raise UserError(
                    f"{run_dir} already holds a run; resume=false does not overwrite it: give another name=... or delete it"
                )
            _check_same(_read(path), config, run_dir)
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        yield run_dir


def _holds_something_else(run_dir: Path) -> bool:
    found = run_dir.iterdir() if run_dir.is_dir() else ()
    return not all(any(path.match(pattern) for pattern in BEFORE) for path in found)


def config_of(run_dir: Path) -> dict[str, Any]:
    """The settings a run was last started with. Raises UserError where there is no run."""
    path = run_dir / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"{run_dir} holds no run ({CONFIG_NAME} is missing)")
    return _read(path)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that differ and matter, as ``key (old -> new)``."""
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key) and not _is_free(key)]
    return [f"{key} ({old.get(key)} -> {new.get(key)})" for key in keys]


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], run_dir: Path) -> None:
    different = differences(before, now)
    old, new = before["trainer"]["max_steps"], now["trainer"]["max_steps"]
    if new < old:
        different.append(f"trainer.max_steps ({old} -> {new})")
    if different:
        raise UserError(
            f"{run_dir} was trained with other settings: {', '.join(different)}; "
            "give them back, or start another run with name=... or run_dir=..."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} cannot be read; start another run with name=...") from error
    if not isinstance(value, dict) or "trainer" not in value:
        raise UserError(f"{path} is not the configuration of a training; give another name=... or run_dir=...")
    return value


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(prefix, value)]
    return [pair for key, child in value.items() for pair in _flat(child, f"{prefix}.{key}" if prefix else str(key))]


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _check_room(run_dir: Path, needed: int = 50 * 2**20) -> None:
    """A full disk is better found now than at the first checkpoint."""
    place = run_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(f"{place} has {free / 2**20:.0f} MB left; free space or choose another run_dir=...")
