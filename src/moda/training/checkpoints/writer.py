"""Checkpoints that are whole or absent.

    RUN/checkpoints/step-N/weights-RRRRR.safetensors      float32 masters, as rank R holds them
                           optimizer-RRRRR.safetensors    moments
                           ema-RRRRR.safetensors          averages of the weights
                           loader-RRRRR.json              what rank R has read
                           trainer.json                   loops, schedules and callbacks
                           manifest.json                  sizes and hashes of all of them

See pieces.py: any number of ranks and any strategy resumes them, and nothing is unpickled.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch

from moda.data.module import ShardDataModule
from moda.errors import UserError
from moda.files import read_json, sha256_of, write_json
from moda.training.checkpoints.pieces import PieceReader, whole_pieces, write_pieces
from moda.training.distributed.strategies import masters_of, trained_network

MANIFEST = "manifest.json"
WEIGHTS, OPTIMIZER = "weights", "optimizer"
NAME = re.compile(r"step-(\d+)")

Files = dict[str, dict[str, Any]]  # name -> {"bytes", "sha256"}


class Part(Protocol):
    """Something else that is saved with the weights. ``save`` and ``load`` are called on every rank."""

    def save(self, directory: Path, rank: int) -> None: ...

    def load(self, directory: Path, rank: int) -> None: ...


class LoaderState:
    """The position of the data, one file a rank: Lightning would keep that of rank 0 alone."""

    def __init__(self, data: ShardDataModule):
        self.data = data

    def save(self, directory: Path, rank: int) -> None:
        write_json(directory / f"loader-{rank:05d}.json", self.data.rank_state())

    def load(self, directory: Path, rank: int) -> None:
        self.data.load_rank_states([read_json(path) for path in sorted(directory.glob("loader-*.json"))])


class CheckpointWriter(L.Callback):
    """Saves every ``every`` steps and at the end, keeps the last ``keep``, and restores what ``fit`` is given.

    A checkpoint is written under a temporary name, every rank its own files, then sealed by a manifest of
    sizes and hashes, then renamed: what is called step-N was complete once. This callback comes last, and a
    step that is validated is saved after that: what a step leaves behind is recorded before it is saved.
    parts: what is saved beside the weights. identity: stored in the manifest. before_save: called on every
    rank; what it raises prevents the save. after_save, after_load: called on rank 0 with the directory of a
    checkpoint that stands, or has been restored.
    """

    def __init__(
        self,
        directory: str | Path,
        every: int,
        keep: int = 2,
        parts: Sequence[Part] = (),
        identity: dict[str, Any] | None = None,
        before_save: Callable[[L.Trainer], None] | None = None,
        after_save: Callable[[Path], None] | None = None,
        after_load: Callable[[Path], None] | None = None,
    ):
        if every < 1:
            raise UserError(f"checkpoint.every={every}: must be at least 1")
        if keep < 2:
            raise UserError(
                f"checkpoint.keep={keep}: at least 2 are kept, so that one is left when the newest is damaged"
            )
        self.directory = Path(directory)
        self.every, self.keep, self.parts = every, keep, parts
        self.identity, self.before_save = identity or {}, before_save
        self.after_save, self.after_load = after_save, after_load
        self._saved = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved = trainer.global_step
        for schedule in (config.scheduler for config in trainer.lr_scheduler_configs):
            # a schedule that is restored knows its rate; the optimizer is told with the next one
            for group, rate in zip(schedule.optimizer.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = rate

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.due(trainer) and not validates(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.due(trainer):
            with torch.inference_mode(False):  # which validation runs in
                self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save(trainer)

    def due(self, trainer: L.Trainer) -> bool:
        """Whether the step that has just ended is one to save."""
        step = trainer.global_step
        return step != self._saved and (step % self.every == 0 or step == trainer.max_steps)

    def save(self, trainer: L.Trainer) -> None:
        """Save this step, unless it is saved. Every rank calls it at the same step.

        Raises UserError on every rank if any of them cannot write.
        """
        step = trainer.global_step
        if step == self._saved:
            return
        if self.before_save:
            self.before_save(trainer)
        self._saved = step
        final = self.directory / f"step-{step}"
        temporary = self.directory / f".step-{step}.tmp"  # the same on every rank
        files, problem = _everywhere(trainer, lambda: self._begin(trainer, temporary), _cause)
        if not problem:
            files, problem = _everywhere(trainer, lambda: self._write(trainer, temporary), _cause)
        if not problem:
            _, problem = _everywhere(trainer, lambda: self._finish(trainer, temporary, final, files), _cause)
        if problem:
            if trainer.is_global_zero:
                shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(f"cannot write checkpoint {final}: {problem}; free space, then run again")
        self._follow(trainer, final, self.after_save)

    def _begin(self, trainer: L.Trainer, temporary: Path) -> Files:
        if trainer.is_global_zero:
            for path in self.directory.glob(".step-*.tmp"):  # of a save that was killed
                shutil.rmtree(path)
            temporary.mkdir(parents=True)
        return {}

    def _write(self, trainer: L.Trainer, temporary: Path) -> Files:
        """Write this rank's files; returns their sizes and hashes."""
        rank, masters = trainer.global_rank, masters_of(trainer)
        trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), temporary)
        if rank == 0 or not masters.replicated:
            weights = list(masters.pieces)
            if rank == 0:
                weights += whole_pieces(_buffers(trainer))
            write_pieces(temporary, WEIGHTS, rank, weights)
            write_pieces(temporary, OPTIMIZER, rank, masters.moments())
        for part in self.parts:
            part.save(temporary, rank)
        return {path.name: describe(path) for path in files_of_rank(temporary, rank)}

    def _finish(self, trainer: L.Trainer, temporary: Path, final: Path, files: Files) -> Files:
        if trainer.is_global_zero:
            seal(temporary, trainer.global_step, self.identity, files)
            shutil.rmtree(final, ignore_errors=True)  # a damaged one that resuming passed over
            temporary.rename(final)
            for path in by_step(self.directory)[self.keep :]:
                shutil.rmtree(path)
        return {}

    @staticmethod
    def _follow(trainer: L.Trainer, directory: Path, act: Callable[[Path], None] | None) -> None:
        """Let rank 0 act on a checkpoint; where it cannot, every rank says so."""

        def follow() -> Files:
            if trainer.is_global_zero and act:
                act(directory)
            return {}

        _, problem = _everywhere(trainer, follow)
        if problem:
            raise UserError(problem)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore weights, moments and parts from the directory given to ``fit``."""
        directory = Path(checkpoint["directory"])
        weights = PieceReader(directory, WEIGHTS)
        masters = masters_of(trainer)
        masters.load(weights)
        masters.load_moments(PieceReader(directory, OPTIMIZER))
        for name, buffer in _buffers(trainer).items():  # running statistics of batch norms and the like
            buffer.copy_(weights.read(name).reshape(buffer.shape))
        for part in self.parts:
            part.load(directory, trainer.global_rank)
        count_micro_batches(checkpoint, trainer.accumulate_grad_batches)
        self._follow(trainer, directory, self.after_load)


def validates(trainer: L.Trainer) -> bool:
    """Whether the step that has just ended is validated before the next one."""
    batches = trainer.global_step * trainer.accumulate_grad_batches
    return bool(trainer.enable_validation and trainer.val_check_batch and batches % trainer.val_check_batch == 0)


def count_micro_batches(checkpoint: dict[str, Any], accumulate: int) -> None:
    """Make Lightning's counters, on their way from a checkpoint, those of a run that has just ended its step.

    It steps and validates by the number of micro-batches. Steps may have had another number of them
    before, and a checkpoint that is written when a batch starts has counted that one too.
    """
    steps, loop = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
    batches = steps * accumulate
    # completed, and the step as stepped, only after the hook in which checkpoints are usually written
    counters = {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    loop["epoch_loop.batch_progress"] |= {"total": counters, "current": dict(counters)}
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - 1


def _cause(error: OSError | UserError) -> str:
    """Why a file of a checkpoint cannot be written, without advice: that of the checkpoint is given once."""
    return str(error.__cause__ if isinstance(error.__cause__, OSError) else error)


def _everywhere(
    trainer: L.Trainer, act: Callable[[], Files], words: Callable[[OSError | UserError], str] = str
) -> tuple[Files, str]:
    """Run ``act`` on every rank; every rank gets all results, and the first failure in ``words`` ('' for none)."""
    try:
        outcome: tuple[Files, str] = (act(), "")
    except (OSError, UserError) as error:
        outcome = ({}, next(iter(words(error).splitlines()), "") or type(error).__name__)
    outcomes = [outcome]
    if trainer.world_size > 1:
        outcomes = [outcome] * trainer.world_size
        torch.distributed.all_gather_object(outcomes, outcome)
    files = {name: known for found, _ in outcomes for name, known in found.items()}
    return files, next((problem for _, problem in outcomes if problem), "")


def files_of_rank(directory: Path, rank: int) -> list[Path]:
    """The files that ``rank`` has written: KIND-RRRRR.*, and for rank 0 those without a rank in their name.

    Hidden ones are another rank's, in the middle of being written, and will be renamed.
    """
    numbered = {path: path.stem.rpartition("-")[2] for path in sorted(directory.iterdir()) if path.name[0] != "."}
    return [path for path, number in numbered.items() if (int(number) if number.isdigit() else 0) == rank]


def _buffers(trainer: L.Trainer) -> dict[str, torch.Tensor]:
    network = trained_network(trainer.strategy)
    persistent = network.state_dict().keys() - {name for name, _ in network.named_parameters()}
    return {name: value for name, value in network.named_buffers() if name in persistent}


def describe(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def seal(directory: Path, step: int, identity: dict[str, Any], files: Files) -> None:
    """Write the manifest, the last file of a checkpoint."""
    write_json(directory / MANIFEST, {"step": step, "identity": identity, "files": files})


def damage(directory: Path, hashes: bool = True) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as the manifest says; sizes alone without ``hashes``."""
    if not (directory / MANIFEST).is_file():
        return f"it has no {MANIFEST}"
    try:
        for name, known in read_json(directory / MANIFEST)["files"].items():
            path = directory / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != known["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {known['bytes']}"
            if hashes and sha256_of(path) != known["sha256"]:
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


def newest_complete(directory: str | Path, say: Callable[[str], None] = print, hashes: bool = True) -> Path | None:
    """The newest undamaged checkpoint; each one passed over is named in a line with the reason."""
    for path in by_step(directory):
        reason = damage(path, hashes)
        if reason is None:
            return path
        say(f"ignoring checkpoint {path}: {reason}")
    return None
