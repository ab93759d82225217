"""The LightningDataModule: an endless training stream and a fixed set of validation windows."""

import warnings
from pathlib import Path

import lightning as L
from torch.utils.data import DataLoader

from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data.stream import TiledWindows, WindowStream
from moda.errors import UserError

VALIDATION_BATCH = (
    32  # whatever the batch size of training and the number of ranks, so that val/loss does not depend on them
)


class ShardDataModule(L.LightningDataModule):
    """Windows of one prepared data set.

    window, previous: W and P frames. batch_size: windows a step on each rank.
    num_workers: 0 reads in the training process. cache_mb: memory a rank may fill with decoded clips.
    val_windows: at most so many windows are validated on, the same ones on every rank.
    Raises UserError for a missing or damaged data set.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        window: int,
        previous: int,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        cache_mb: float = 1024,
        shuffle_shards: int = 8,
        val_windows: int = 256,
        manifest: DatasetManifest | None = None,
    ):
        super().__init__()
        for name, value, least in (
            ("window", window, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise UserError(f"data.{name}={value}: must be at least {least}")
        self.manifest = manifest or DatasetManifest.load(path)
        self.window, self.previous, self.batch_size, self.seed = window, previous, batch_size, seed
        self.num_workers, self.cache_mb = num_workers, cache_mb
        self.shuffle_shards, self.val_windows = shuffle_shards, val_windows
        self.train_shards = FeatureShards(path, "train", self.manifest)
        self.val_shards = self._validation_shards(path)

    def _validation_shards(self, path: str | Path) -> FeatureShards:
        if any(shard.split == "val" for shard in self.manifest.shards):
            return FeatureShards(path, "val", self.manifest)
        warnings.warn(
            f"{path} has no val split: the val/ numbers are measured on training clips and say nothing of new speakers",
            stacklevel=2,
        )
        return self.train_shards

    def train_dataloader(self) -> DataLoader:
        """Starts where the trainer stands: a resumed run goes on with the batch it would have had next."""
        rank, world_size, start = 0, 1, 0
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            start = self.trainer.global_step * self.trainer.accumulate_grad_batches
        stream = WindowStream(
            self.train_shards,
            batch_size=self.batch_size,
            window=self.window,
            previous=self.previous,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            start_batch=start,
            cache_mb=self.cache_mb,
            shuffle_shards=self.shuffle_shards,
        )
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        windows = TiledWindows(
            self.val_shards,
            batch_size=VALIDATION_BATCH,
            window=self.window,
            previous=self.previous,
            limit=self.val_windows,
        )
        return DataLoader(windows, batch_size=None)
