from itertools import pairwise

import pytest
import torch

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
        return [of.normal(2), of.chance(0.5), of.times(lambda count, g: torch.rand(count, generator=g)), of.normal(1)]

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


def test_chances_are_met() -> None:
    assert draws([0, 1]).chance(0.0).tolist() == [False, False]
    assert draws(list(range(4000))).chance(0.3).float().mean().item() == pytest.approx(0.3, abs=0.03)
