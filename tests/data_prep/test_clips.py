import itertools

import pytest

from moda.data_prep.clips import split


@pytest.mark.parametrize(
    ("length", "longest", "shortest"), [(250, 250, 25), (251, 250, 25), (1000, 250, 25), (26, 250, 25), (777, 100, 30)]
)
def test_pieces_cover_everything_in_equal_parts(length: int, longest: int, shortest: int):
    pieces = split(10, 10 + length, longest, shortest)
    assert pieces[0][0] == 10 and pieces[-1][1] == 10 + length
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    lengths = [b - a for a, b in pieces]
    assert max(lengths) <= longest and max(lengths) - min(lengths) <= 1
    assert len(pieces) == -(-length // longest)


def test_too_short_a_stretch_gives_none():
    assert split(0, 24, 250, 25) == []
    with pytest.raises(ValueError, match="clips of"):
        split(0, 100, 10, 20)
