from itertools import pairwise

import pytest
import torch

from moda.flow.time_sampling import LogitNormalTimes, UniformTimes
from moda.training.draws import BLOCK, Draws


def draws(index: list[int], seed: int = 0, **settings: int) -> Draws:
    return Draws(seed, "train", torch.tensor(index), **settings)


@pytest.mark.parametrize("cuts", [[4], [16], [3, 5, 31], [1, 17, 18, 33]])
def test_noise_belongs_to_the_place_in_the_stream_not_to_the_batch(cuts: list[int]) -> None:
    count = 2 * BLOCK + 5
    whole = draws(list(range(count))).normal(3, 2)
    edges = [0, *cuts, count]
    parts = [draws(list(range(a, b))).normal(3, 2) for a, b in pairwise(edges)]
    assert torch.equal(torch.cat(parts), whole)


def test_draws_that_follow_each_other_belong_to_the_place_too() -> None:
    def values(index: list[int]) -> list[torch.Tensor]:
        of = draws(index)
        return [of.normal(2), of.uniform(3).T, of.times(LogitNormalTimes())[0], of.times(UniformTimes(), beside=2)[1].T]

    for whole, part in zip(values([14, 15, 16, 17]), values([16, 17]), strict=True):
        assert torch.equal(whole[2:], part)


def test_rows_follow_the_order_of_the_index() -> None:
    forth, back = draws([3, 40, 17]).normal(4), draws([17, 3, 40]).normal(4)
    assert torch.equal(forth[[2, 0, 1]], back)


def test_noise_differs_between_places_blocks_and_seeds() -> None:
    first = draws([0, 1]).normal(3)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, draws([BLOCK, BLOCK + 1]).normal(3))
    assert not torch.equal(first, draws([0, 1], seed=1).normal(3))


def test_uniform_numbers_are_those_that_come_one_after_the_other() -> None:
    together, one_by_one = draws([3, 20]), draws([3, 20])
    sigma, beside = together.times(UniformTimes(), beside=3)
    assert torch.equal(sigma, UniformTimes().of(one_by_one.uniform(1)[0]))
    assert torch.equal(beside, torch.cat([one_by_one.uniform(1) for _ in range(3)]))


def test_uniform_numbers_fill_the_interval() -> None:
    numbers = draws(list(range(4000))).uniform(1)
    assert numbers.shape == (1, 4000) and numbers.min() >= 0 and numbers.max() < 1
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.02)
