"""Settings that no protocol can have are said at once, in one line; those of the files can be had."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from video_support import PROTOCOL

from moda.errors import UserError


@pytest.mark.parametrize("name, value, said", [
    ("size", 0, "protocol.size=0: must be a whole number from 1"),
    ("size", -4, "protocol.size=-4: must be a whole number from 1"),
    ("size", "abc", "protocol.size=abc: must be a whole number from 1"),
    ("pad", "abc", "protocol.pad=abc: must be a whole number from 1"),
    ("margin", -1, "protocol.margin=-1: must be a finite number from 1"),
    ("max_seconds", 0.01, "protocol.max_seconds=0.01: must be a finite number from 0.04"),
    ("max_seconds", inf, "protocol.max_seconds=Infinity: must be a finite number from 0.04"),
    ("max_seconds", nan, "protocol.max_seconds=NaN: must be a finite number from 0.04"),
    ("min_track", "abc", "protocol.min_track=abc: must be a whole number from 1"),
    ("detector_scale", 0, "protocol.detector_scale=0: must be a finite number from 0.01 to 4"),
    ("detector_threshold", 2, "protocol.detector_threshold=2: must be a finite number from 0 to 1"),
    ("fid_stride", 1.5, "protocol.fid_stride=1.5: must be a whole number from 1"),
    ("fid_stride", True, "protocol.fid_stride=true: must be a whole number from 1"),
    ("fvd_frames", None, "protocol.fvd_frames=null: must be a whole number from 1"),
    ("resamples", None, "protocol.resamples=null: must be a whole number from 100"),
    ("resamples", 20, "protocol.resamples=20: must be a whole number from 100"),
    ("seed", "x", "protocol.seed=x: must be a whole number from 0"),
    ("seed", -1, "protocol.seed=-1: must be a whole number from 0"),
    ("lossy", "maybe", "protocol.lossy=maybe: must be true or false"),
    ("lossy", 1, "protocol.lossy=1: must be true or false"),
])  # fmt: skip
def test_a_setting_out_of_its_bounds_or_of_another_type_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(PROTOCOL, **{name: value})
    assert str(caught.value) == said


def test_sides_may_be_none_and_whole_numbers_stand_for_others() -> None:
    frame = replace(PROTOCOL, crop="frame", size=None, pad=None, max_seconds=2, margin=1)
    assert frame.max_frames == 50
    assert replace(PROTOCOL, max_seconds=0.04).max_frames == 1
