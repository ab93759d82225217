"""Under which heading a reason is counted on the card."""

import pytest

from moda.data_prep.card_figures import Values, histograms
from moda.data_prep.items import SAME_CONTENT, VideoItem
from moda.data_prep.pictures import kind_of
from moda.data_prep.records import VideoRecord
from moda.data_prep.sources import Labels


def refused(reason: str) -> VideoRecord:
    return VideoRecord("a.mp4", "digest", VideoItem(rejected=reason), Labels("a"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the head is restless: yaw changes by 1.05° a frame, more than 1°", "the head is restless: yaw changes by 12.3° a frame, more than 1°"),
        (f"{SAME_CONTENT}ann/1.mp4", f"{SAME_CONTENT}bob, the second.mp4"),
        ("it is 0.5 s long", "it is 10 s long"),
    ],
)  # fmt: skip
def test_reasons_that_differ_in_numbers_and_names_are_one(one: str, other: str):
    assert kind_of(refused(one)) == kind_of(refused(other))
    assert kind_of(refused(""), f"0.0 to 4.6 s: {one}") == kind_of(refused(""), f"14.25 to 20 s: {other}")
    assert kind_of(refused(one)) != kind_of(refused("it has no sound track"))


def test_a_histogram_of_nothing_is_left_out():
    assert histograms([Values("yaw", [])]) == ""
    assert histograms([Values("yaw", []), Values("pitch", [1.0, 2.0])]).count("<svg") == 1
