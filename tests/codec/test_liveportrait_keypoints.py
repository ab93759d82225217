"""Pose bins, rotation, the keypoint transform, and how driving composes with a portrait."""

from dataclasses import fields

import numpy as np
import pytest
from liveportrait_support import make_source, random_motion

from moda.codec.liveportrait.driving import PUBLISHED, Driving
from moda.codec.liveportrait.keypoints import (
    CLOSED,
    LAYOUT,
    FaceMotion,
    lip_aperture,
    motion_of,
    pose_degrees,
    transform,
)
from moda.errors import UserError
from moda.motion.controls import CONTROLS, directions
from moda.motion.rotation import rotation_matrix

EYE = np.eye(3)[None]


@pytest.mark.parametrize(("peak", "degrees"), [(0, -97.5), (32, -1.5), (33, 1.5), (65, 97.5)])
def test_a_peaked_bin_is_its_angle(peak, degrees):
    logits = np.zeros(66)
    logits[peak] = 200
    assert pose_degrees(logits) == pytest.approx(degrees)


def test_uniform_bins_are_straight_ahead_and_large_logits_do_not_overflow():
    assert pose_degrees(np.zeros((2, 66))) == pytest.approx([0, 0])
    assert pose_degrees(np.full(66, 1e5)) == pytest.approx(0)


@pytest.mark.parametrize(
    ("angles", "point", "image"),
    [((0, 90, 0), (0, 0, 1), (1, 0, 0)), ((90, 0, 0), (0, 0, 1), (0, -1, 0)), ((0, 0, 90), (1, 0, 0), (0, 1, 0)), ((0, 0, 0), (1, 2, 3), (1, 2, 3))],
)  # fmt: skip
def test_rotation_turns_row_vectors(angles, point, image):
    assert np.array(point) @ rotation_matrix(np.array(angles, float)) == pytest.approx(image, abs=1e-12)


def test_rotation_is_the_transposed_product_of_the_three():
    pitch, yaw, roll = np.deg2rad([10.0, 20.0, 30.0])
    x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    rotation = rotation_matrix(np.array([10.0, 20.0, 30.0]))
    assert rotation == pytest.approx((z @ y @ x).T, abs=1.5e-8)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_neutral_transform_changes_nothing_and_depth_is_not_translated():
    canonical = np.random.default_rng(0).normal(size=(21, 3))
    still = transform(canonical, EYE, np.zeros((1, 21, 3)), np.ones((1, 1)), np.zeros((1, 3)))
    assert still[0] == pytest.approx(canonical)
    moved = transform(canonical, EYE, np.zeros((1, 21, 3)), np.ones((1, 1)), np.array([[0.1, 0.2, 5.0]]))
    assert moved[0] - canonical == pytest.approx(np.tile([0.1, 0.2, 0.0], (21, 1)))


def test_offsets_are_added_before_scaling_and_are_not_rotated():
    canonical, offsets = np.random.default_rng(1).normal(size=(2, 1, 21, 3))
    rotation = rotation_matrix(np.array([[10.0, 20.0, 30.0]]))
    placed = transform(canonical, rotation, offsets, np.full((1, 1), 1.5), np.zeros((1, 3)))
    assert placed == pytest.approx(1.5 * (canonical @ rotation + offsets))


def test_motion_is_heads_in_the_order_of_the_layout():
    rng = np.random.default_rng(2)
    heads = {name: rng.normal(size=(4, width)) for name, width in (("exp", 63), ("scale", 1), ("t", 3), ("pitch", 66), ("yaw", 66), ("roll", 66))}  # fmt: skip
    motion = motion_of(heads)
    assert motion.shape == (4, 70) and motion.dtype == np.float32
    assert motion[:, :63] == pytest.approx(heads["exp"], abs=1e-6) and motion[:, 63:64] == pytest.approx(heads["scale"])
    assert motion[:, 64:66] == pytest.approx(heads["t"][:, :2]) and not motion[:, 66].any()
    assert motion[:, 68] == pytest.approx(pose_degrees(heads["yaw"]), abs=1e-5)


def test_parts_are_what_the_vector_says():
    motion = random_motion(3)
    parts = FaceMotion.of(motion)
    assert parts.expression[1, 4, 2] == motion[1, LAYOUT.index("expression4Z")]
    assert parts.rotation == pytest.approx(rotation_matrix(motion[:, 67:]), abs=1e-6)


@pytest.mark.parametrize("region", ["all", "exp", "pose", "lip", "eyes"])
def test_relative_motion_that_has_not_begun_is_the_portrait(region):
    source, start = make_source(), FaceMotion.of(random_motion(1, 9))
    placed = Driving(mode="relative", region=region).compose(source.motion, start, start).place(source.canonical)
    assert placed == pytest.approx(source.keypoints, abs=1e-6)


def test_relative_motion_adds_the_change_since_the_start():
    source, motion, start = make_source().motion, FaceMotion.of(random_motion(6, 1)), FaceMotion.of(random_motion(1, 2))
    made = Driving(mode="relative").compose(source, motion, start)
    for t in range(6):
        assert made.expression[t] == pytest.approx(
            source.expression[0] + motion.expression[t] - start.expression[0], abs=1e-6
        )
        assert made.scale[t] == pytest.approx(source.scale[0] * motion.scale[t] / start.scale[0])
        assert made.translation[t] == pytest.approx(
            source.translation[0] + motion.translation[t] - start.translation[0], abs=1e-6
        )
        turn = motion.rotation[t] @ start.rotation[0].T @ source.rotation[0]
        assert made.rotation[t] == pytest.approx(turn, abs=1e-6)


def test_absolute_motion_replaces_the_published_offsets_and_keeps_the_scale():
    assert PUBLISHED.sum() == 45 and not PUBLISHED[[0, 7, 10]].any() and PUBLISHED[[6, 12, 14, 17, 19, 20]].all()
    assert [PUBLISHED[k].tolist() for k in (3, 4, 5, 8, 9)] == [[False, True, False]] * 2 + [[False, False, True]] * 2 + [[False, True, True]]  # fmt: skip
    source, motion = make_source().motion, FaceMotion.of(random_motion(3, 1))
    made = Driving(mode="absolute").compose(source, motion, motion)
    assert np.array_equal(made.expression[:, PUBLISHED], motion.expression[:, PUBLISHED])
    assert np.array_equal(made.expression[:, ~PUBLISHED], np.repeat(source.expression, 3, 0)[:, ~PUBLISHED])
    assert np.array_equal(made.scale, np.repeat(source.scale, 3, 0))
    assert np.array_equal(made.rotation, motion.rotation) and np.array_equal(made.translation, motion.translation)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
@pytest.mark.parametrize(("region", "keypoints", "moves"), [("exp", None, False), ("pose", (), True), ("lip", (6, 12, 14, 17, 19, 20), False), ("eyes", (11, 13, 15, 16, 18), False)])  # fmt: skip
def test_a_region_leaves_the_rest_to_the_portrait(mode, region, keypoints, moves):
    source, motion, start = make_source().motion, FaceMotion.of(random_motion(2, 1)), FaceMotion.of(random_motion(1, 2))
    made = Driving(mode=mode, region=region).compose(source, motion, start)
    whole = Driving(mode=mode).compose(source, motion, start)
    if keypoints is None:
        assert np.array_equal(made.expression, whole.expression)
    else:
        driven = np.isin(np.arange(21), keypoints)
        assert np.array_equal(made.expression[:, driven], whole.expression[:, driven])
        assert np.array_equal(made.expression[:, ~driven], np.repeat(source.expression, 2, 0)[:, ~driven])
    assert np.array_equal(made.rotation, whole.rotation if moves else np.repeat(source.rotation, 2, 0))
    assert np.array_equal(made.translation, whole.translation if moves else np.repeat(source.translation, 2, 0))
    assert np.array_equal(made.scale, np.repeat(source.scale, 2, 0))


@pytest.mark.parametrize("mode", ["absolute", "relative"])
@pytest.mark.parametrize("region", ["all", "exp", "pose", "lip", "eyes"])
def test_signals_that_driving_leaves_to_the_portrait_are_told(mode, region):
    source, start = make_source().motion, FaceMotion.of(random_motion(1, 2))
    driving = Driving(mode=mode, region=region)

    def seen(name):
        base = random_motion(1, 1)
        made = [driving.compose(source, FaceMotion.of(motion), start) for motion in (base, base + move(name))]
        return any(
            not np.array_equal(getattr(made[0], part.name), getattr(made[1], part.name)) for part in fields(made[0])
        )

    def move(name):
        return 0.1 * directions(name, LAYOUT).sum(0, keepdims=True).astype(np.float32)

    assert driving.unshown == tuple(name for name in CONTROLS if not seen(name))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "both"}, "driving.mode is 'both'; it must be one of absolute, relative"),
        ({"region": "nose"}, "driving.region"),
        ({"eye_ratio": -0.1}, "driving.eye_ratio is -0.1"),
        ({"multiplier": float("nan")}, "driving.multiplier"),
        ({"normalize_lip": True, "lip_ratio": 0.0}, "does nothing beside"),
        ({"speed": 2}, "no setting driving.speed; driving has mode, region"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Driving.of(settings)


def test_lips_open_with_the_lower_lip_from_where_they_rest():
    motion = np.zeros((4, 70), np.float32)
    motion[:, LAYOUT.index("expression19Y")] = [CLOSED, CLOSED - 0.02, 0.0, 0.08]
    closed, pressed, ajar, wide = lip_aperture(motion)
    assert closed == pressed == 0 and 0 < ajar < 0.1 < 0.3 < wide < 0.6
