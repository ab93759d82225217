"""Checkpoints that are whole or absent: RUN/checkpoints/step-N/{state.ckpt, manifest.json}."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from moda.errors import UserError
from moda.files import read_json, sha256_of, write_json

STATE, MANIFEST = "state.ckpt", "manifest.json"
NAME = re.compile(r"step-(\d+)")


class CheckpointWriter(L.Callback):
    """Saves every ``every`` steps and at the end, and keeps the last ``keep``.

    A checkpoint is written under a temporary name, then sealed by a manifest of sizes and hashes, then
    renamed: what is called step-N was complete once. This callback comes last, so that the others have
    seen the step that is saved.
    after_save: called on rank 0 when a checkpoint stands. identity: stored in the manifest.
    """

    def __init__(
        self,
        directory: str | Path,
        every: int,
        keep: int = 2,
        identity: dict[str, Any] | None = None,
        after_save: Callable[[L.Trainer, L.LightningModule], None] | None = None,
    ):
        if every < 1:
            raise UserError(f"checkpoint.every={every}: must be at least 1")
        if keep < 2:
            raise UserError(
                f"checkpoint.keep={keep}: at least 2 are kept, so that one is left when the newest is damaged"
            )
        self.directory = Path(directory)
        self.every, self.keep = every, keep
        self.identity, self.after_save = identity or {}, after_save
        self._saved = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        step = trainer.global_step
        if step == self._saved:
            return
        self._saved = step
        final = self.directory / f"step-{step}"
        temporary = self.directory / f".step-{step}.tmp"  # the same on every rank
        if trainer.is_global_zero:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        try:
            trainer.save_checkpoint(temporary / STATE)  # every rank takes part
            if trainer.is_global_zero:
                seal(temporary, step, self.identity)
                shutil.rmtree(final, ignore_errors=True)  # a damaged one that resuming passed over
                temporary.rename(final)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(temporary, ignore_errors=True)
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot write checkpoint {final}: {reason}; free space, then run again") from error
        if trainer.is_global_zero:
            self._prune()
            if self.after_save:
                self.after_save(trainer, module)
        trainer.strategy.barrier("checkpoint")

    def _prune(self) -> None:
        for path in by_step(self.directory)[self.keep :]:
            shutil.rmtree(path)


def seal(directory: Path, step: int, identity: dict[str, Any]) -> None:
    """Write the manifest of every file in ``directory``; the last thing written."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = {str(p.relative_to(directory)): {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in paths}
    write_json(directory / MANIFEST, {"step": step, "identity": identity, "files": files})


def damage(directory: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as the manifest says."""
    if not (directory / MANIFEST).is_file():
        return f"it has no {MANIFEST}"
    try:
        for name, known in read_json(directory / MANIFEST)["files"].items():
            path = directory / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != known["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {known['bytes']}"
            if sha256_of(path) != known["sha256"]:
                return f"{name} does not have the hash it was written with"
    except (UserError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    return None


def by_step(directory: str | Path) -> list[Path]:
    """Checkpoint directories, newest first."""
    if not Path(directory).is_dir():
        return []
    found = [(int(match[1]), path) for path in Path(directory).iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def newest_complete(directory: str | Path, say: Callable[[str], None] = print) -> Path | None:
    """The newest undamaged checkpoint; each one passed over is named in a line with the reason."""
    for path in by_step(directory):
        reason = damage(path)
        if reason is None:
            return path
        say(f"ignoring checkpoint {path}: {reason}")
    return None
