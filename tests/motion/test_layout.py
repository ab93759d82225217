import pickle

import numpy as np
import pytest

from moda.errors import UserError
from moda.motion import LAYOUTS, get_layout


@pytest.mark.parametrize("name, dim", [("head59", 59), ("liveportrait70", 70)])
def test_groups_cover_every_dimension_once_in_order(name: str, dim: int) -> None:
    layout = get_layout(name)
    covered = [i for group in layout.groups.values() for i in range(dim)[group]]
    assert layout.dim == dim
    assert covered == list(range(dim))
    assert len(set(layout.names)) == dim


def test_subsets_name_what_they_say() -> None:
    head = get_layout("head59")
    assert [head.names[i] for i in head.subsets["blink"]] == ["eyeBlinkLeft", "eyeBlinkRight"]
    assert [head.names[i] for i in head.subsets["jaw_open"]] == ["jawOpen"]
    # LivePortrait's lip keypoints are 6, 12, 14, 17, 19 and 20, three axes each
    assert len(get_layout("liveportrait70").subsets["lips"]) == 18


def test_unknown_layout_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="head59, liveportrait70"):
        get_layout("head60")


def test_check_refuses_another_layouts_motion_and_nan() -> None:
    head = LAYOUTS["head59"]
    with pytest.raises(UserError, match=r"\(5, 70\).*59"):
        head.check(np.zeros((5, 70)))
    motion = np.zeros((5, 59))
    motion[3, 7] = np.nan
    with pytest.raises(UserError, match="frame 3"):
        head.check(motion)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_a_layout_travels_between_processes(layout) -> None:
    assert pickle.loads(pickle.dumps(layout)) == layout  # noqa: S301
