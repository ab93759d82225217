"""Weights & Biases: one run for a run directory, whatever the number of starts, online or not."""

import netrc
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from moda.errors import UserError
from moda.files import read_json, write_json
from moda.training.tracking.facts import RunStart
from moda.training.tracking.metrics import METRICS_NAME, last_step
from moda.training.tracking.tracker import Tracker

STATE_NAME = "wandb_run.json"  # {"id": of the run, "recorded": last step that W&B may have}
AXIS = "trainer/global_step"
MODES = ("auto", "online", "offline", "disabled")
INIT_TIMEOUT, FINISH_TIMEOUT = 60, 300  # seconds; a dead network may cost so much and no more


class WandbTracker(Tracker):
    """Records into a W&B run. Steps up to ``recorded`` are there already: a resumed run repeats them exactly.

    What W&B fails at is said once and never raised: it has no part in the training.
    """

    def __init__(self, run: Any, recorded: int):
        super().__init__()
        self.run, self.recorded = run, recorded
        self._failed = False

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return str(self.run.id)

    @property
    def experiment(self) -> Any:
        return self.run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if values:
            self._log(values, (step or 0) + 1)

    @rank_zero_only
    def log_event(self, event: str, step: int, facts: Mapping[str, Any]) -> None:
        """The facts of a start become the run's config; those of an earlier start are replaced."""
        if event == "start":
            settings = {**facts["config"], **{name: value for name, value in facts.items() if name != "config"}}
            self._try(lambda: self.run.config.update(settings, allow_val_change=True))

    @rank_zero_only
    def log_previews(self, files: Mapping[str, Path], step: int) -> None:
        self._try(lambda: self._log({f"preview/{name}": _media(path) for name, path in files.items()}, step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self._try(lambda: self.run.finish(exit_code=0 if status == "success" else 1))

    def _log(self, values: Mapping[str, Any], done: int) -> None:
        if done > self.recorded:
            self._try(lambda: self.run.log({**values, AXIS: done}))

    def _try(self, action: Callable[[], Any]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # its failures have no common type
            self._failed = True
            print(f"W&B has failed ({_reason(error)}); training goes on with metrics.jsonl alone", flush=True)


@rank_zero_only
def start_wandb(start: RunStart, project: str, mode: str) -> WandbTracker | None:
    """Open the run that belongs to ``start.run_dir``; None when disabled or impossible. Other ranks do nothing."""
    mode = resolve_mode(mode)
    if mode == "disabled":
        return None
    state = _open_state(start.run_dir)
    for attempt in ("online", "offline") if mode == "online" else ("offline",):
        try:
            return WandbTracker(_init(start, project, attempt, state["id"]), state["recorded"])
        except Exception as error:  # its failures have no common type, and training does not depend on it
            instead = "it is recorded offline" if attempt == "online" else "training goes on with metrics.jsonl alone"
            print(f"W&B cannot start {attempt} ({_reason(error)}); {instead}", flush=True)
            _forget()
    return None


def resolve_mode(mode: str) -> str:
    """``logger.mode`` with ``auto`` decided."""
    if mode not in MODES:
        raise UserError(f"logger.mode={mode}: must be {', '.join(MODES[:-1])} or {MODES[-1]}")
    if mode != "auto":
        return mode
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in MODES[1:]:
        return wanted
    return "online" if _has_account() else "offline"


def _init(start: RunStart, project: str, mode: str, run_id: str) -> Any:
    import wandb

    run = wandb.init(
        name=start.name,
        project=project,
        id=run_id,
        dir=start.run_dir,
        mode="online" if mode == "online" else "offline",
        resume="allow" if mode == "online" else None,  # an offline run cannot ask the server
        settings=wandb.Settings(
            silent=True, console="off", init_timeout=INIT_TIMEOUT, finish_timeout=FINISH_TIMEOUT, save_code=False
        ),
    )
    run.define_metric(AXIS)
    run.define_metric("*", step_metric=AXIS, step_sync=True)
    return run


def _forget() -> None:
    """End W&B's service, which still holds the run's id after a start that has failed."""
    import wandb

    wandb.teardown()


def _open_state(run_dir: Path) -> dict[str, Any]:
    """The run's id, fixed before W&B is asked, and how far any start before this one has recorded.

    metrics.jsonl knows how far the last one came, as it has not been rewound yet.
    """
    path = run_dir / STATE_NAME
    state = read_json(path) if path.is_file() else {"id": secrets.token_hex(8), "recorded": 0}
    state["recorded"] = max(state["recorded"], last_step(run_dir / METRICS_NAME))
    write_json(path, state)
    return state


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _media(path: Path) -> Any:
    import wandb

    return wandb.Video(path, format="mp4") if path.suffix == ".mp4" else wandb.Image(str(path))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
