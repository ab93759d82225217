"""Experiment trackers beside metrics.jsonl, as ``conf/logger`` names them. None of them can stop a training."""

import importlib.util
import netrc
import os
import secrets
from pathlib import Path

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from moda.errors import UserError
from moda.files import atomic_path

WANDB_ID = "wandb_id.txt"


def none(*, run_dir: Path, name: str, step: int) -> list[Logger]:
    """Only metrics.jsonl."""
    return []


def wandb(*, run_dir: Path, name: str, step: int, project: str = "moda", mode: str = "auto") -> list[Logger]:
    """Weights & Biases: online with an API key, else offline (``wandb sync`` sends it later).

    The run's id is fixed in the run directory before the start, so that a resumed run goes on in the
    same one. mode: auto, online, offline.
    """
    if mode not in ("auto", "online", "offline"):
        raise UserError(f"logger.mode={mode}: must be auto, online or offline")
    offline = mode == "offline" or (mode == "auto" and not _has_account())
    return _wandb_logger(run_dir, name, project, offline) or []


@rank_zero_only
def _wandb_logger(run_dir: Path, name: str, project: str, offline: bool) -> list[Logger]:
    try:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        run = wandb.init(
            name=name,
            project=project,
            id=_run_id(run_dir),
            dir=run_dir,
            mode="offline" if offline else "online",
            resume=None if offline else "allow",  # an offline run cannot ask the server
            settings=wandb.Settings(silent=True),
        )
        # Steps recorded again after a resume would be refused on W&B's own axis.
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        logger = WandbLogger(experiment=run, save_dir=run_dir)
    except Exception as error:  # its failures have no common type, and training does not depend on it
        print(f"W&B cannot start ({str(error).strip().splitlines()[-1]}); training goes on with metrics.jsonl alone")
        return []
    return [logger]


def csv(*, run_dir: Path, name: str, step: int) -> list[Logger]:
    """A table for each start of the run, named by the step it began at: Lightning's writer cannot append."""
    from lightning.pytorch.loggers import CSVLogger

    return [CSVLogger(run_dir, name="csv", version=f"from-step-{step}")]


def tensorboard(*, run_dir: Path, name: str, step: int) -> list[Logger]:
    """TensorBoard event files in RUN/tensorboard."""
    if not any(importlib.util.find_spec(package) for package in ("tensorboard", "tensorboardX")):
        raise UserError("logger=tensorboard needs a package that is not installed; run: pip install tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger

    return [TensorBoardLogger(run_dir, name="tensorboard", version="")]


def _run_id(run_dir: Path) -> str:
    path = run_dir / WANDB_ID
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(secrets.token_hex(8) + "\n")
    return path.read_text().strip()


def _has_account() -> bool:
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
