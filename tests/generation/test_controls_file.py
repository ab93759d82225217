import numpy as np
import pytest

from moda.errors import UserError
from moda.generation.controls import read_controls
from moda.motion.controls import ControlSpace
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

LAYOUT = get_layout("head59")
MEAN = np.zeros(LAYOUT.dim)
MEAN[LAYOUT.index("scale")] = 1.0
STD = np.full(LAYOUT.dim, 0.1)
STD[LAYOUT.groups["rotation"]] = 10
SPACE = ControlSpace(["pose", "gaze", "distance"], MotionStatistics(LAYOUT, MEAN, STD, 100))


def read(tmp_path, text, frames=50, name="look.csv"):
    path = tmp_path / name
    path.write_text(text)
    return read_controls(path, SPACE, frames)


def test_rows_are_joined_by_lines_and_held_at_both_ends(tmp_path):
    asked = read(tmp_path, "time,pitch,yaw,roll\n0.4, 0, -10, 0\n1.2, 4, 10, 0\n")
    assert list(asked) == ["pose"] and asked["pose"].shape == (50, 3)
    np.testing.assert_allclose(asked["pose"][[0, 10, 20, 30, 49]], [[0, -10, 0], [0, -10, 0], [2, 0, 0], [4, 10, 0], [4, 10, 0]], atol=1e-9)  # fmt: skip


def test_any_of_the_controls_may_be_there(tmp_path):
    asked = read(tmp_path, "distance,gaze_yaw,time,gaze_pitch\n1.1,5,0,0\n")
    assert set(asked) == {"gaze", "distance"}
    np.testing.assert_allclose(asked["gaze"], np.tile([0, 5], (50, 1)))


def test_arrays_are_read_alike(tmp_path):
    np.savez(tmp_path / "look.npz", time=[0.0, 2.0], distance=[1.0, 1.1])
    asked = read_controls(tmp_path / "look.npz", SPACE, 26)
    assert asked["distance"][-1, 0] == pytest.approx(1.05)


def test_a_motion_file_gives_its_own_signals(tmp_path):
    motion = np.random.default_rng(0).normal(MEAN, STD, (30, LAYOUT.dim)).astype(np.float32)
    np.savez(tmp_path / "take.npz", motion=motion, layout="head59", fps=25)
    asked = read_controls(tmp_path / "take.npz", SPACE, 30)
    np.testing.assert_allclose(asked["pose"], motion[:, LAYOUT.groups["rotation"]], atol=1e-4)
    np.savez(tmp_path / "other.npz", motion=np.zeros((5, 70)), layout="liveportrait70", fps=25)
    with pytest.raises(UserError, match="layout liveportrait70, the model has head59"):
        read_controls(tmp_path / "other.npz", SPACE, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("pitch,yaw,roll\n0,0,0\n", "no column time"),
        ("time,pitch,yaw\n0,0,0\n", "no column roll; pose needs pitch, yaw, roll"),
        ("time,smile\n0,0\n", "unknown column 'smile'; known: time, pitch"),
        ("time\n0\n", "asks for nothing"),
        ("time,distance\n", "at least one"),
        ("time,distance\n0,1\n0,2\n", "time does not increase at row 2"),
        ("time,distance\n0,far\n", "row 1: distance is 'far', not a number"),
        ("time,distance\n0,1,2\n", "row 1: 3 values for 2 columns"),
        ("time,distance\n0,nan\n", "distance holds a value that is no number, at row 1"),
        ("time,distance\n0,0\n", "above 0"),
        ("time,time\n0,0\n", "names a column twice"),
    ],
)
def test_what_cannot_be_obeyed_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value) and "look.csv" in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_controls(tmp_path / "none.csv", SPACE, 10)
    with pytest.raises(UserError, match=r"must end in \.csv or \.npz"):
        read(tmp_path, "x", name="look.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path, "not a zip", name="look.npz")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path, "PK\x03\x04 and no more", name="cut.npz")


def test_values_far_beyond_training_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="6.0 standard deviations"):
        read(tmp_path, "time,pitch,yaw,roll\n0,0,60,0\n")
