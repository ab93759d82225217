"""Shares of the endless training stream: the places that belong to each rank and worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from torch.utils.data import get_worker_info

from moda.errors import UserError

MOST_READERS = 8  # a rank, where nobody says how many


@dataclass(frozen=True)
class Share:
    """What one rank reads of the stream from place ``start_sample`` on.

    The stream is cut into runs of ``micro_batch * world_size`` places; rank r takes the r-th slice of
    each, and worker w of W the runs s = w (mod W). Accumulating A of them makes one optimizer step of
    G = A * micro_batch * world_size places: the same places, whatever R, W and A are.
    """

    micro_batch: int
    rank: int = 0
    world_size: int = 1
    start_sample: int = 0

    def batches(self, worker: int = 0, num_workers: int = 1) -> Iterator[range]:
        """The places of each micro-batch of one worker, without end."""
        for run in count(worker, num_workers):
            first = self.start_sample + (run * self.world_size + self.rank) * self.micro_batch
            yield range(first, first + self.micro_batch)


def this_worker() -> tuple[int, int]:
    """(number, how many) of the reader process that calls; (0, 1) in the training process."""
    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)


def micro_batch_size(batch_size: int, world_size: int, accumulate: int) -> int:
    """Windows a rank takes at once, so that an optimizer step has ``batch_size`` of them over all ranks."""
    parts = world_size * accumulate
    if batch_size % parts:
        nearest = max(round(batch_size / parts), 1) * parts
        raise UserError(
            f"data.batch_size={batch_size} is not divisible by {world_size} ranks x {accumulate} accumulated "
            f"micro-batches (trainer.accumulate_grad_batches); take data.batch_size={nearest}"
        )
    return batch_size // parts


def readers_that_fit(shards: int, ranks: int, cores: int) -> int:
    """Reader processes a rank that ``shards`` shards and its share of ``cores`` cores allow, at most ``MOST_READERS``."""
    return max(0, min(MOST_READERS, cores - 1, shards // ranks))


def require_enough_shards(sizes: tuple[int, ...], split: str, world_size: int, num_workers: int) -> None:
    """Raise UserError where there are more readers than shards: some of them would share too little."""
    workers = max(num_workers, 1)  # without worker processes, the rank itself reads
    readers = world_size * workers
    if readers <= len(sizes):
        return
    ways = []
    if world_size <= len(sizes):
        fewer = len(sizes) // world_size
        ways.append(f"set data.num_workers to at most {fewer}" + (" (or 0)" if fewer == 1 else ""))
    ways.append(f"use at most {max(len(sizes) // workers, 1)} ranks")
    if (shard_size := sum(sizes) // readers) >= 1:
        ways.append(f"prepare the data set again with shard_size={shard_size}")
    raise UserError(
        f"{world_size} ranks x {workers} readers each need {readers} shards, but the {split} split has {len(sizes)}: "
        + ", ".join(ways)
        + ", or read with data=resampled"
    )
