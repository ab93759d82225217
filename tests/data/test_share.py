"""Which rank and worker reads which place; checked over random layouts."""

import random
from itertools import islice

import pytest

from moda.data.share import Share, micro_batch_size, require_enough_shards
from moda.errors import UserError


@pytest.mark.parametrize("seed", range(40))
def test_every_layout_reads_each_global_batch_once(seed: int) -> None:
    rng = random.Random(seed)
    world_size, accumulate, workers = rng.randint(1, 6), rng.randint(1, 4), rng.randint(1, 5)
    batch_size = world_size * accumulate * rng.randint(1, 5)
    start, steps = rng.randint(0, 1000), 5
    micro = micro_batch_size(batch_size, world_size, accumulate)
    step_of: dict[int, int] = {}
    for rank in range(world_size):
        share = Share(micro, rank, world_size, start)
        readers = [share.batches(worker, workers) for worker in range(workers)]
        for number in range(steps * accumulate):  # a DataLoader asks its workers in turn
            for place in next(readers[number % workers]):
                assert place not in step_of
                step_of[place] = number // accumulate
    assert step_of == {start + n: n // batch_size for n in range(steps * batch_size)}


def test_a_worker_takes_every_other_micro_batch() -> None:
    share = Share(micro_batch=2, rank=1, world_size=3, start_sample=100)
    assert list(islice(share.batches(1, 2), 2)) == [range(108, 110), range(120, 122)]


def test_a_batch_that_cannot_be_divided_names_one_that_can() -> None:
    assert micro_batch_size(32, 4, 2) == 4
    with pytest.raises(UserError, match=r"data.batch_size=30 is not divisible by 4 ranks x 2.*take data.batch_size=32"):
        micro_batch_size(30, 4, 2)
    with pytest.raises(UserError, match="take data.batch_size=8"):
        micro_batch_size(1, 4, 2)


def test_fewer_shards_than_readers_says_the_numbers_and_the_ways_out() -> None:
    sizes = (100, 100, 100, 100)
    require_enough_shards(sizes, "train", world_size=2, num_workers=2)
    require_enough_shards(sizes, "train", world_size=4, num_workers=0)  # a rank without workers reads itself
    with pytest.raises(UserError) as caught:
        require_enough_shards(sizes, "train", world_size=2, num_workers=8)
    line = str(caught.value)
    assert "2 ranks x 8 readers each need 16 shards, but the train split has 4" in line
    assert "data.num_workers to at most 2" in line and "shard_size=25" in line and "data=resampled" in line
    with pytest.raises(UserError, match="use at most 4 ranks"):
        require_enough_shards(sizes, "train", world_size=5, num_workers=0)


def test_the_shard_size_that_is_advised_gives_enough_shards() -> None:
    from moda.data.writer import plan_shards

    for clips, readers in ((400, 16), (1001, 32), (17, 16), (64, 63)):
        with pytest.raises(UserError, match=f"shard_size={clips // readers}"):
            require_enough_shards((clips,), "train", world_size=readers, num_workers=0)
        assert len(plan_shards(clips, clips // readers)) >= readers
