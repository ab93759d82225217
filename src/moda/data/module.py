"""The LightningDataModule: an endless training stream and a fixed set of validation windows."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, IterableDataset

from moda.data.bad_samples import BadSampleLog
from moda.data.resampled import ResampledStream
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards, OnCorrupt
from moda.data.share import Share, micro_batch_size, require_enough_shards
from moda.data.stream import TiledWindows, WindowStream
from moda.data.windows import Batch
from moda.data.workers import ReaderLoader
from moda.errors import UserError

# whatever the batch size of training and the number of ranks, so that val/loss does not depend on them
VALIDATION_BATCH = 32
PREFETCH = 4  # batches

# mode -> its own settings and what they are by default
MODES: dict[str, dict[str, Any]] = {
    "ordered": {"cache_mb": 1024, "shuffle_shards": 8},
    "resampled": {"shuffle_clips": 1000},
}


class ShardDataModule(L.LightningDataModule):
    """Windows of one prepared data set.

    split: whose clips are trained on; ``val`` is validated on whatever it is. window, previous: W and P frames. batch_size: windows an optimizer step, over all ranks and accumulated
    micro-batches. num_workers: reader processes a rank, each ``prefetch_factor`` batches ahead; 0 reads in
    the training process. mode: ordered (the same batches for any layout, exact resume; cache_mb: memory a
    rank may fill with decoded clips, shuffle_shards: shards whose clips are mixed) or resampled (cheap
    sequential reads; shuffle_clips: clips a reader draws from). val_windows: at most so many windows are
    validated on, the same ones on every rank. reference_scale: see ``cut_window``. report: hears of each bad sample, which is then skipped;
    after max_bad_in_a_row of them training ends.
    Raises UserError for settings that cannot work and for a missing or damaged data set, whose headers are
    all compared with its dataset.json here.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        window: int,
        previous: int,
        batch_size: int,
        seed: int,
        reference_scale: bool = False,
        split: str = "train",
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        mode: str = "ordered",
        cache_mb: float | None = None,
        shuffle_shards: int | None = None,
        shuffle_clips: int | None = None,
        val_windows: int = 256,
        max_bad_in_a_row: int = 100,
        manifest: DatasetManifest | None = None,
        report: OnCorrupt | None = None,
    ):
        super().__init__()
        given = {"cache_mb": cache_mb, "shuffle_shards": shuffle_shards, "shuffle_clips": shuffle_clips}
        self.mode, self.mode_settings = mode, _settings_of(mode, given)
        least = {"window": 1, "batch_size": 1, "num_workers": 0, "val_windows": 1, "max_bad_in_a_row": 1}
        values = {"window": window, "batch_size": batch_size, "num_workers": num_workers, "val_windows": val_windows}
        _require_at_least(least, values | {"max_bad_in_a_row": max_bad_in_a_row})
        if prefetch_factor is not None:
            _require_at_least({"prefetch_factor": 1}, {"prefetch_factor": prefetch_factor})
            if num_workers == 0:
                raise UserError("data.prefetch_factor does nothing with data.num_workers=0; leave it out")
        self.manifest = manifest or DatasetManifest.load(path)
        self.window, self.previous, self.batch_size, self.seed = window, previous, batch_size, seed
        self.reference_scale = reference_scale
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor or PREFETCH
        self.val_windows, self.max_bad_in_a_row = val_windows, max_bad_in_a_row
        self.report = report or BadSampleLog()
        self.train_shards = FeatureShards(path, split, self.manifest, self.report)
        self.val_shards = self._validation_shards(path)
        for shards in (self.train_shards, self.val_shards):
            shards.verify()
        if not sum(self.train_shards.sizes):
            raise UserError(f"the train split of {path} holds no sample; prepare it again")
        self._origin = (0, 0)  # optimizer step, and the samples that had been seen then
        self.bad_samples = 0

    def _validation_shards(self, path: str | Path) -> FeatureShards:
        if any(shard.split == "val" for shard in self.manifest.shards):
            return FeatureShards(path, "val", self.manifest, self.report)
        warnings.warn(
            f"{path} has no val split: the val/ numbers are measured on training clips and say nothing of new speakers",
            stacklevel=3,
        )
        return self.train_shards

    def micro_batch(self, world_size: int, accumulate: int = 1) -> int:
        """Windows a rank takes at once. Raises UserError where ranks and readers do not fit the data or batch."""
        if self.mode == "ordered":
            require_enough_shards(self.train_shards.sizes, self.train_shards.split, world_size, self.num_workers)
        return micro_batch_size(self.batch_size, world_size, accumulate)

    @property
    def samples_seen(self) -> int:
        """Samples of the stream that the optimizer has stepped over, on all ranks together."""
        step, samples = self._origin
        return samples + max(self._step - step, 0) * self.batch_size

    @property
    def _step(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_step

    @property
    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks)."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def train_stream(self, share: Share) -> IterableDataset:
        """The stream of one rank, as ``train_dataloader`` reads it."""
        kind = WindowStream if self.mode == "ordered" else ResampledStream
        common = {"seed": self.seed, "max_bad_in_a_row": self.max_bad_in_a_row, **self._cut}
        return kind(self.train_shards, share, **common, **self.mode_settings)

    @property
    def _cut(self) -> dict[str, Any]:
        """How windows are cut out of clips."""
        return {"window": self.window, "previous": self.previous, "reference_scale": self.reference_scale}

    def train_dataloader(self) -> DataLoader:
        """Starts where the run stands: a resumed one goes on with the batch it would have had next."""
        trainer = self.trainer
        rank, world_size = self._place
        accumulate = 1 if trainer is None else trainer.accumulate_grad_batches
        share = Share(self.micro_batch(world_size, accumulate), rank, world_size, self.samples_seen)
        return ReaderLoader(
            self.train_stream(share),
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader:
        windows = TiledWindows(self.val_shards, batch_size=VALIDATION_BATCH, limit=self.val_windows, **self._cut)
        return ReaderLoader(windows)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Counts what was skipped for a batch when it is trained on, not when it was read ahead."""
        self.bad_samples += batch.pop("skipped", 0)
        return batch

    def rank_state(self) -> dict[str, Any]:
        """Where this rank stands in the stream, for its checkpoint; JSON.

        samples_seen: places of the stream that are behind all ranks; the same on each. bad_samples: how many this
        rank has skipped.
        """
        rank, world_size = self._place
        return {
            "samples_seen": self.samples_seen,
            "step": self._step,
            "rank": rank,
            "world_size": world_size,
            "bad_samples": self.bad_samples,
            "mode": self.mode,
            "seed": self.seed,
            "dataset": self.manifest.fingerprint,
        }

    def load_rank_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the ``rank_state`` of every rank of any layout; call before the loaders are made.

        The bad samples of rank r are counted on by rank r mod W of the W there are now. Raises UserError for another
        data set or seed, whose places are other samples, and for what is no such state.
        """
        rank, world_size = self._place
        try:
            first = states[0]
            origin = (int(first["step"]), int(first["samples_seen"]))
            stream = {name: first[name] for name in ("mode", "seed", "dataset")}
            mine = [state for state in states if int(state["rank"]) % world_size == rank]
            counted = sum(int(state["bad_samples"]) for state in mine)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the checkpoint's loader state cannot be read ({error!r}); resume another one") from error
        now = {"mode": self.mode, "seed": self.seed, "dataset": self.manifest.fingerprint}
        for name, value in stream.items():
            if value != now[name]:
                raise UserError(
                    f"the checkpoint was trained on the {self.mode} stream of {name} {value}, this is {now[name]}: "
                    "its place in the data means nothing here; start another run with name=..."
                )
        self._origin, self.bad_samples = origin, counted


def _settings_of(mode: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The mode's own settings, completed; UserError for one that does nothing in it."""
    if mode not in MODES:
        raise UserError(f"data.mode={mode}: must be one of {', '.join(MODES)}")
    idle = [f"data.{name}" for name, value in given.items() if value is not None and name not in MODES[mode]]
    if idle:
        raise UserError(f"{', '.join(idle)} does nothing with data.mode={mode}; leave it out")
    settings = {name: default if given[name] is None else given[name] for name, default in MODES[mode].items()}
    _require_at_least({"cache_mb": 0, "shuffle_shards": 1, "shuffle_clips": 1}, settings)
    return settings


def _require_at_least(least: Mapping[str, int], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value < least[name]:
            raise UserError(f"data.{name}={value}: must be at least {least[name]}")
