"""What a run was made with: code, machine, data. Recorded at every start."""

import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import moda
from moda.data.schema import DatasetManifest
from moda.training.tracking.tracker import Tracker

PACKAGES = ("torch", "lightning", "deepspeed", "hydra-core", "webdataset", "numpy", "wandb")
SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_NODELIST")


@dataclass(frozen=True)
class RunStart:
    """One start of a run, for those who record it. step: updates done before. config: resolved settings."""

    run_dir: Path
    name: str
    step: int
    config: Mapping[str, Any]
    manifest: DatasetManifest
    world_size: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Plain values, gathered when they are first asked for: on rank 0 only."""
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": dict(self.config),
            "git": git_state(Path(moda.__file__).parent),
            "environment": environment() | {"world_size": self.world_size},
            "dataset": {"path": str(self.config["data"]["path"]), "fingerprint": self.manifest.fingerprint},
        }


def record_start(loggers: Iterable[Any], start: RunStart) -> None:
    """Give the facts to every tracker."""
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.log_event("start", start.step, start.facts)


def git_state(folder: Path) -> dict[str, Any]:
    """commit, and whether tracked files differ from it, of the repository that tracks ``folder``'s files.

    Where there is none (an installed package, a container without git) commit is "unknown" and reason
    says why.
    """
    try:
        _git(
            folder, "ls-files", "--error-unmatch", "__init__.py"
        )  # an environment may lie inside some other repository
        return {
            "commit": _git(folder, "rev-parse", "HEAD"),
            "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
            "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return {"commit": "unknown", "reason": said.strip().splitlines()[0], "version": moda.__version__}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def environment() -> dict[str, Any]:
    """Versions, devices, hosts and the SLURM job. No other environment variable is looked at."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "moda": moda.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "cuda": torch.version.cuda,
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "gpus": gpus,
        "host": socket.gethostname(),
        "slurm": {name.removeprefix("SLURM_").lower(): os.environ[name] for name in SLURM if name in os.environ},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
