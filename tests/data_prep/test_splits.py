import random

import pytest

from moda.data_prep.splits import split_speakers
from moda.errors import UserError

PEOPLE = [f"speaker{i}" for i in range(40)]


def sizes(*arguments, **settings) -> dict[str, int]:
    return {split: len(names) for split, names in split_speakers(*arguments, **settings).items()}


@pytest.mark.parametrize("count", [3, 4, 11, 40])
def test_everyone_is_in_one_split_and_each_split_has_someone(count: int):
    splits = split_speakers(PEOPLE[:count])
    assert set(splits) == {"train", "val", "test"}
    assert sorted(name for names in splits.values() for name in names) == sorted(PEOPLE[:count])


def test_shares_and_numbers():
    assert sizes(PEOPLE, 0.1, 0.2) == {"train": 28, "val": 4, "test": 8}
    assert sizes(PEOPLE, 5, 1) == {"train": 34, "val": 5, "test": 1}
    assert sizes(PEOPLE, 0, 0) == {"train": 40}
    assert sizes(PEOPLE[:4], 3, 3)["train"] == 1  # someone always trains


def test_fewer_than_three_speakers_are_all_trained_on():
    assert split_speakers(["a", "b"]) == {"train": ["a", "b"]}


def test_the_order_of_files_does_not_matter_and_the_seed_does():
    shuffled = PEOPLE.copy()
    random.Random(0).shuffle(shuffled)
    assert split_speakers(shuffled) == split_speakers(PEOPLE)
    assert split_speakers(PEOPLE, seed=1) != split_speakers(PEOPLE)


def test_pinned_speakers_are_where_they_belong():
    pinned = {"test": ["speaker1", "speaker2"], "train": ["speaker3"]}
    splits = split_speakers(PEOPLE[:10], pinned=pinned)
    assert splits["test"] == ["speaker1", "speaker2"]  # they count towards the share
    assert "speaker3" in splits["train"]
    assert split_speakers(["a", "b"], pinned={"test": ["b"]}) == {"train": ["a"], "test": ["b"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pinned": {"test": ["nobody"]}}, "nobody"),
        ({"pinned": {"dev": ["speaker1"]}}, "no such split"),
        ({"pinned": {"val": ["speaker1"], "test": ["speaker1"]}}, "keep one"),
        ({"pinned": {"test": PEOPLE}}, "no speaker to train on"),
        ({"val": -0.1}, "share"),
        ({"val": 1.5}, "share"),
    ],
)
def test_what_cannot_be_done_is_said(settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        split_speakers(PEOPLE, **settings)
