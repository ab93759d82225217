"""Checkpoints that are whole or absent.

    RUN/checkpoints/step-N/weights-RRRRR.safetensors      float32 masters, as rank R holds them
                           optimizer-RRRRR.safetensors    moments
                           ema-RRRRR.safetensors          averages of the weights
                           loader-RRRRR.json              what rank R has read
                           trainer.json                   loops, schedules and callbacks
                           manifest.json                  sizes and hashes of all of them

See pieces.py: any number of ranks and any strategy resumes them, and nothing is unpickled.
"""

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
import torch.distributed as dist

from moda.data.module import ShardDataModule
from moda.errors import UserError
from moda.files import read_json, write_json
from moda.training.checkpoints.background import BackgroundWork
from moda.training.checkpoints.manifest import Files, by_step, describe, files_of_rank, seal
from moda.training.checkpoints.pieces import Keep, PieceReader, Write, on_host, whole_pieces, write_pieces
from moda.training.distributed.strategies import masters_of, trained_network
from moda.training.faults.consensus import Consensus

WEIGHTS, OPTIMIZER = "weights", "optimizer"
UNSAVED = "unsaved"  # the flag of a rank whose checkpoint could not be written in the background


class Part(Protocol):
    """Something else that is saved with the weights. ``held`` and ``load`` are called on every rank."""

    def held(self, rank: int, keep: Keep) -> Write:
        """What writes this part as it is now into the directory of a checkpoint, later and in another thread."""
        ...

    def load(self, directory: Path, rank: int) -> None: ...


class LoaderState:
    """The position of the data, one file a rank: Lightning would keep that of rank 0 alone."""

    def __init__(self, data: ShardDataModule):
        self.data = data

    def held(self, rank: int, keep: Keep) -> Write:
        state = self.data.rank_state()
        return lambda directory: write_json(directory / f"loader-{rank:05d}.json", state)

    def load(self, directory: Path, rank: int) -> None:
        self.data.load_rank_states([read_json(path) for path in sorted(directory.glob("loader-*.json"))])


class CheckpointWriter(L.Callback):
    """Saves every ``every`` steps and at the end, keeps the last ``keep``, and restores what ``fit`` is given.

    A checkpoint is written under a temporary name, every rank its own files, then sealed by a manifest of
    sizes and hashes, then renamed: what is called step-N was complete once. This callback comes last, and a
    step that is validated is saved after that: what a step leaves behind is recorded before it is saved.

    background: a step waits only until everything is copied into this machine's memory, pinned for the transfer from a
    GPU; a thread writes and seals it while training goes on. The next save, a signal and the end wait for it. What
    prevents it is raised on every rank at one step, by way of ``consensus`` (whose flag is ``UNSAVED``).

    parts: what is saved beside the weights. identity: stored in the manifest. before_save: called on every
    rank; what it raises prevents the save. after_save, after_load: called on rank 0 with the directory of a
    checkpoint that stands, or has been restored. What each save has held the training up is recorded, in seconds.
    """

    def __init__(
        self,
        directory: str | Path,
        every: int,
        keep: int = 2,
        background: bool = False,
        parts: Sequence[Part] = (),
        consensus: Consensus | None = None,
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
        self.background, self.consensus = background, consensus
        self.identity, self.before_save = identity or {}, before_save
        self.after_save, self.after_load = after_save, after_load
        self._saved = 0
        self._work = BackgroundWork()
        self._ranks: dist.ProcessGroup | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.world_size > 1:  # of its own: the training's operations are not to mix with those of a thread
            patience = self.consensus.patience if self.consensus else None
            group = dist.new_group(backend="gloo", timeout=patience)
            assert isinstance(group, dist.ProcessGroup)
            self._ranks = group

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved = trainer.global_step
        for schedule in (config.scheduler for config in trainer.lr_scheduler_configs):
            # a schedule that is restored knows its rate; the optimizer is told with the next one
            for group, rate in zip(schedule.optimizer.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = rate

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.consensus and self.consensus.agreed.get(UNSAVED):
            self._work.join()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self._work.problem is not None:
            if self.consensus is None or not isinstance(self._work.problem, UserError):
                self._work.join()
            else:
                self.consensus.raise_flag(UNSAVED)
        if self.due(trainer) and not validates(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.due(trainer):
            with torch.inference_mode(False):  # which validation runs in
                self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save_now(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._work.wait()  # the run directory is ours no longer

    def due(self, trainer: L.Trainer) -> bool:
        """Whether the step that has just ended is one to save."""
        step = trainer.global_step
        return step != self._saved and (step % self.every == 0 or step == trainer.max_steps)

    def save_now(self, trainer: L.Trainer) -> None:
        """Save this step and wait until it is written."""
        self.save(trainer)
        self._work.join()

    def save(self, trainer: L.Trainer) -> None:
        """Save this step, unless it is saved. Every rank calls it at the same step.

        Raises UserError on every rank if any of them cannot write.
        """
        step, began = trainer.global_step, time.perf_counter()
        if step == self._saved:
            return
        self._work.join()
        if self.before_save:
            self.before_save(trainer)
        self._saved = step
        rank, writes = trainer.global_rank, self._held(trainer)

        def store() -> None:
            self._store(step, rank, writes)

        if self.background:
            self._work.start(store)
        else:
            store()
        if rank == 0:
            stall = {"speed/checkpoint_stall": time.perf_counter() - began}
            for logger in trainer.loggers:
                logger.log_metrics(stall, step - 1)  # Lightning counts from 0

    def _held(self, trainer: L.Trainer) -> list[Write]:
        """What writes this rank's files, as everything is now."""
        keep: Keep = on_host if self.background else list
        rank, masters = trainer.global_rank, masters_of(trainer)
        state = copy.deepcopy(trainer._checkpoint_connector.dump_checkpoint())
        writes: list[Write] = [lambda directory: trainer.strategy.save_checkpoint(state, directory)]
        if rank == 0 or not masters.replicated:
            buffers = whole_pieces(_buffers(trainer)) if rank == 0 else []
            weights, moments = keep([*masters.pieces, *buffers]), keep(masters.moments())
            writes.append(lambda directory: write_pieces(directory, WEIGHTS, rank, weights))
            writes.append(lambda directory: write_pieces(directory, OPTIMIZER, rank, moments))
        writes.extend(part.held(rank, keep) for part in self.parts)
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.current_stream().synchronize()  # the copies have arrived
        return writes

    def _store(self, step: int, rank: int, writes: Sequence[Write]) -> None:
        """Make the checkpoint of ``step`` out of the ``writes`` of every rank."""
        final = self.directory / f"step-{step}"
        temporary = self.directory / f".step-{step}.tmp"  # the same on every rank

        def begin() -> Files:
            if rank == 0:
                for path in self.directory.glob(".step-*.tmp"):  # of a save that was killed
                    shutil.rmtree(path)
                temporary.mkdir(parents=True)
            return {}

        def write() -> Files:
            for part in writes:
                part(temporary)
            return {path.name: describe(path) for path in files_of_rank(temporary, rank)}

        def finish() -> Files:
            if rank == 0:
                seal(temporary, step, self.identity, files)
                shutil.rmtree(final, ignore_errors=True)  # a damaged one that resuming passed over
                temporary.rename(final)
                for path in by_step(self.directory)[self.keep :]:
                    shutil.rmtree(path)
            return {}

        files, problem = self._everywhere(begin, _cause)
        if not problem:
            files, problem = self._everywhere(write, _cause)
        if not problem:
            _, problem = self._everywhere(finish, _cause)
        if problem:
            if rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(f"cannot write checkpoint {final}: {problem}; free space, then run again")
        self._follow(rank, final, self.after_save)

    def _follow(self, rank: int, directory: Path, act: Callable[[Path], None] | None) -> None:
        """Let rank 0 act on a checkpoint; where it cannot, every rank says so."""

        def follow() -> Files:
            if rank == 0 and act:
                act(directory)
            return {}

        _, problem = self._everywhere(follow)
        if problem:
            raise UserError(problem)

    def _everywhere(
        self, act: Callable[[], Files], words: Callable[[OSError | UserError], str] = str
    ) -> tuple[Files, str]:
        """Run ``act`` on every rank; every rank gets all results, and the first failure in ``words`` ('' for none)."""
        try:
            outcome: tuple[Files, str] = (act(), "")
        except (OSError, UserError) as error:
            outcome = ({}, next(iter(words(error).splitlines()), "") or type(error).__name__)
        outcomes = [outcome]
        if self._ranks is not None:
            outcomes = [outcome] * self._ranks.size()
            dist.all_gather_object(outcomes, outcome, group=self._ranks)
        files = {name: known for found, _ in outcomes for name, known in found.items()}
        return files, next((problem for _, problem in outcomes if problem), "")

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
        self._follow(trainer.global_rank, directory, self.after_load)


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


def _buffers(trainer: L.Trainer) -> dict[str, torch.Tensor]:
    network = trained_network(trainer.strategy)
    persistent = network.state_dict().keys() - {name for name, _ in network.named_parameters()}
    return {name: value for name, value in network.named_buffers() if name in persistent}
