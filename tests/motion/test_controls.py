import numpy as np
import pytest

from moda.errors import UserError
from moda.motion.controls import ControlSpace, channels_of, measure
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

HEAD, PORTRAIT = get_layout("head59"), get_layout("liveportrait70")


def statistics(layout=HEAD, **changes) -> MotionStatistics:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(0, 0.1, layout.dim), rng.uniform(0.05, 0.5, layout.dim)
    mean[layout.index("scale")] = 1.2
    for name, value in changes.items():
        std[layout.index(name)] = value
    return MotionStatistics(layout, mean, std, 1000)


def motion_with(layout=HEAD, **values) -> np.ndarray:
    motion = np.zeros((3, layout.dim), np.float32)
    motion[:, layout.index("scale")] = 1.2
    for name, value in values.items():
        motion[:, layout.index(name)] = value
    return motion


def test_values_are_read_off_a_motion():
    motion = motion_with(pitch=3, yaw=-20, roll=1, scale=0.6)
    assert measure("pose", motion, statistics())[0] == pytest.approx([3, -20, 1])
    assert measure("distance", motion, statistics())[0] == pytest.approx([2.0])  # half as large is twice as far


def test_gaze_has_the_signs_of_the_head():
    s = statistics()
    # the subject's right is the left of the image, where positive yaw turns a head
    right = motion_with(eyeLookOutRight=1, eyeLookInLeft=1)
    assert measure("gaze", right, s)[0] == pytest.approx([0, 35])
    assert measure("gaze", motion_with(eyeLookInRight=0.5, eyeLookOutLeft=0.5), s)[0] == pytest.approx([0, -17.5])
    assert measure("gaze", motion_with(eyeLookDownLeft=1, eyeLookDownRight=1), s)[0] == pytest.approx([35, 0])
    assert measure("gaze", motion_with(eyeLookUpLeft=1, eyeLookUpRight=1), s)[0] == pytest.approx([-35, 0])


@pytest.mark.parametrize("layout", [HEAD, PORTRAIT])
def test_what_is_measured_encodes_to_what_training_sees(layout):
    s = statistics(layout)
    space = ControlSpace(["distance", "pose", "gaze"], s)
    motion = s.denormalize(np.random.default_rng(1).normal(0, 0.2, (50, layout.dim))).astype(np.float32)
    if layout is HEAD:
        motion[:, layout.groups["expression"]] = motion[:, layout.groups["expression"]].clip(0, 1)
    asked = {name: space.measure(name, motion) for name in space.channels}
    signals, given = space.encode(asked, 50)
    assert signals.shape == (50, 6) and signals.dtype == np.float32 and given.all()
    np.testing.assert_allclose(signals, s.normalize(motion) @ space.matrix, atol=1e-3)


def test_channels_have_about_unit_variance():
    s = statistics()
    space = ControlSpace(["pose", "gaze", "distance"], s)
    noise = np.random.default_rng(2).standard_normal((20_000, HEAD.dim))
    np.testing.assert_allclose((noise @ space.matrix).std(0), 1, atol=0.05)


def test_what_is_not_asked_is_not_given():
    signals, given = ControlSpace(["pose", "distance"], statistics()).encode({"distance": np.ones((4, 1))}, 4)
    assert given.tolist() == [False, True] and signals.shape == (4, 4)
    assert not signals.any()  # distance 1 is the mean


def test_what_cannot_be_asked_is_refused():
    space = ControlSpace(["pose"], statistics())
    with pytest.raises(UserError, match="without the control gaze.*it has pose"):
        space.encode({"gaze": np.zeros((4, 2))}, 4)
    with pytest.raises(UserError, match=r"control pose has shape \(4, 2\)"):
        space.encode({"pose": np.zeros((4, 2))}, 4)
    with pytest.raises(UserError, match="NaN"):
        space.encode({"pose": np.full((4, 3), np.nan)}, 4)
    with pytest.raises(UserError, match="above 0"):
        ControlSpace(["distance"], statistics()).encode({"distance": np.zeros((4, 1))}, 4)


def test_names_are_checked():
    assert channels_of(["gaze", "pose"]) == {"gaze": 2, "pose": 3}
    with pytest.raises(UserError, match="unknown control 'hands'; known: pose, gaze, distance"):
        channels_of(["hands"])
    with pytest.raises(UserError, match="twice"):
        channels_of(["pose", "pose"])
    with pytest.raises(UserError, match=r"model.controls=pose: must be a list; write model.controls=\[pose\]"):
        channels_of("pose")


def test_a_control_that_never_moves_is_refused_and_a_still_part_is_harmless():
    with pytest.raises(UserError, match="nothing of distance moves"):
        ControlSpace(["distance"], statistics(scale=0.0))
    space = ControlSpace(["pose"], statistics(roll=0.0))
    assert np.isfinite(space.matrix).all() and not space.matrix[:, 2].any()


@pytest.mark.parametrize("layout", [HEAD, PORTRAIT])
def test_imposing_gives_exactly_what_was_asked_and_changes_nothing_else(layout):
    s = statistics(layout)
    space = ControlSpace(["pose", "gaze", "distance"], s)
    rng = np.random.default_rng(3)
    motion, other = (s.denormalize(rng.normal(0, 0.2, (20, layout.dim))).astype(np.float32) for _ in range(2))
    asked = {name: space.measure(name, other) for name in ("pose", "gaze")}
    made = space.impose(motion, asked)
    assert made.dtype == np.float32
    for name, values in asked.items():
        np.testing.assert_allclose(space.measure(name, made), values, atol=2e-2)
    np.testing.assert_allclose(space.measure("distance", made), space.measure("distance", motion))
    lips = list(layout.subsets["lips"])
    np.testing.assert_array_equal(made[:, lips], motion[:, lips])


@pytest.mark.parametrize("start", [0.0, 0.3, 1.0])
def test_eyes_are_turned_by_curves_that_a_face_can_show(start):
    eyes = {name: start for name in HEAD.names if name.startswith("eyeLook")}
    space = ControlSpace(["gaze"], statistics())
    asked = np.array([[0.0, 15.0], [-20.0, -30.0], [0.0, 0.0]])
    made = space.impose(motion_with(**eyes), {"gaze": asked})
    curves = made[:, [HEAD.index(name) for name in eyes]]
    assert curves.min() >= 0 and curves.max() <= 1
    np.testing.assert_allclose(space.measure("gaze", made), asked, atol=1e-3)


def test_eyes_are_not_asked_to_turn_further_than_they_can():
    space = ControlSpace(["gaze"], statistics())
    space.encode({"gaze": np.full((4, 2), 35.0)}, 4)
    with pytest.raises(UserError, match="gaze asks for 50 degrees; eyes turn by 35 at most"):
        space.encode({"gaze": np.full((4, 2), -50.0)}, 4)
