"""Whether a method's own sound must score better than another's, and over which clips that is told."""

import numpy as np
import pytest

from moda.eval.metrics.base import Score
from moda.eval.videos.report.checks import own_against_other


def row(per_clip: dict[str, float], spread: float = 1.0) -> Score:
    value = float(np.mean(list(per_clip.values())))
    return Score(value, (value - spread, value + spread), len(per_clip), per_clip)


OWN = row({"a": 2.0, "b": 5.0})


@pytest.mark.parametrize(
    ("wrong", "above", "passed", "seen"),
    [
        ({"a@x": 1.0, "b@x": 4.0, "a@y": 9.0, "b@y": 9.0}, True, True, "2.5, 3.5"),  # another method's clips do not count
        ({"a@x": 1.0, "b@x": 4.0, "a@y": 9.0, "b@y": 9.0}, False, False, "2.5, 3.5"),
        ({"a": 3.0, "b": 6.0}, True, False, "4.5, 3.5"),  # there is a reference: clips by their plain names
        ({"a": 1.0, "b": 7.0}, True, None, "4, 3.5"),  # one for and one against
        ({"c": 9.0, "d": 9.0}, True, False, "9, 3.5"),  # of other clips: row against row
        ({"c": 4.0, "d": 4.0}, True, None, "4, 3.5"),  # whose intervals overlap
    ],
)  # fmt: skip
def test_a_sound_is_held_against_the_own_one_of_the_same_clips(wrong, above, passed, seen) -> None:
    assert own_against_other(OWN, row(wrong), "x", above) == (passed, seen)
