import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from moda.codec import Portrait
from moda.codec.head import HeadCodec
from moda.codec.head.correspondence import load_landmarks
from moda.codec.head.fit import fit_shape
from moda.codec.head.identity import random_head
from moda.codec.head.mesh import load_mesh
from moda.codec.head.pose import measure_pose, similarity
from moda.codec.head.renderer import rest_motion
from moda.errors import UserError
from moda.motion.controls import ControlSpace, measure
from moda.motion.layout import get_layout
from moda.motion.rotation import rotation_matrix
from moda.motion.statistics import MotionStatistics

LAYOUT = get_layout("head59")
JAW, CLOSE, BLINK = (LAYOUT.index(name) for name in ("jawOpen", "mouthClose", "eyeBlinkLeft"))


@pytest.fixture(scope="module")
def codec():
    return HeadCodec(256, 1)


def speech(frames=40, seed=0):
    """A talking, nodding head: the true motion (T, 59)."""
    t = np.arange(frames) / 25
    motion = np.tile(rest_motion(), (frames, 1))
    motion[:, JAW] = 0.3 - 0.3 * np.cos(2 * np.pi * 1.7 * t + seed)
    motion[frames // 2 : frames // 2 + 3, [BLINK, BLINK + 1]] = 1
    motion[:, LAYOUT.index("pitch")] = 6 * np.sin(2 * np.pi * 0.7 * t)
    motion[:, LAYOUT.index("yaw")] = 10 * np.sin(2 * np.pi * 0.5 * t + 1)
    motion[:, LAYOUT.index("roll")] = 4 * np.sin(2 * np.pi * 0.4 * t + 2)
    motion[:, LAYOUT.index("translationX")] = 0.05 * np.sin(2 * np.pi * 0.6 * t)
    motion[:, LAYOUT.index("scale")] = 1 + 0.05 * np.sin(2 * np.pi * 0.3 * t)
    return motion


@pytest.mark.parametrize("seed", [1, 4])
def test_encode_measures_what_was_rendered(codec, seed):
    motion = speech(seed=seed)
    clip = codec.encode(codec.renderer.render(random_head(seed), row) for row in motion)
    assert clip.found.all() and clip.motion.shape == motion.shape and clip.identity.shape == (codec.identity_dim,)
    error = clip.motion - motion
    assert np.corrcoef(clip.motion[:, JAW], motion[:, JAW])[0, 1] > 0.95
    assert np.corrcoef(codec.lip_aperture(clip.motion), codec.lip_aperture(motion))[0, 1] > 0.95
    assert clip.motion[:, BLINK].argmax() in range(19, 24)
    angles = error[:, LAYOUT.groups["rotation"]]
    assert np.abs(angles.mean(0)).max() < 3 and angles.std(0).max() < 2
    assert np.abs(error[:, LAYOUT.index("scale")]).mean() < 0.08
    assert np.abs(error[:, LAYOUT.index("translationX")]).max() < 0.04


@pytest.mark.parametrize("seed", [1, 4])
def test_decode_undoes_encode(codec, seed):
    motion = speech(frames=16)
    portrait = codec.portrait(f"head:{seed}")
    frames = [codec.renderer.render(random_head(seed), row) for row in motion]
    measured = codec.encode(frames).motion
    again = list(codec.decode(portrait, measured))
    assert len(again) == 16 and again[0].shape == (256, 256, 3) and again[0].dtype == np.uint8
    remeasured = codec.encode(again).motion
    assert np.corrcoef(codec.lip_aperture(remeasured), codec.lip_aperture(motion))[0, 1] > 0.95
    assert np.abs(remeasured - measured)[:, LAYOUT.groups["rotation"]].mean() < 1.5
    assert np.abs(remeasured - measured)[:, LAYOUT.index("scale")].mean() < 0.03


@pytest.mark.parametrize("seed", [3, 7])
def test_eyes_that_are_asked_to_turn_are_seen_to_turn(codec, seed):
    statistics = MotionStatistics(LAYOUT, rest_motion(), np.full(59, 0.2), 100)
    portrait = codec.portrait(f"head:{seed}")
    asked = np.array([[0.0, -30.0], [0.0, 30.0]])
    motion = ControlSpace(["gaze"], statistics).impose(np.tile(portrait.rest, (2, 1)), {"gaze": asked})
    seen = measure("gaze", codec.encode(codec.decode(portrait, motion)).motion, statistics)
    assert seen[1, 1] - seen[0, 1] > 35  # of 60: the landmarker makes little of small turns


@pytest.mark.parametrize("seed", range(4))
def test_rest_renders_as_the_neutral_face_even_if_the_measurement_wavers(codec, seed):
    portrait = codec.portrait(f"head:{seed}")
    neutral = codec.renderer.render(random_head(seed), rest_motion())
    rest = portrait.rest.copy()
    rest[:52] = np.clip(rest[:52] + np.random.default_rng(seed).uniform(-0.02, 0.02, 52), 0, 1)
    frame = next(codec.decode(portrait, rest))
    assert np.abs(frame.astype(int) - neutral).mean() < 0.1


def test_named_portraits_have_the_identity_that_their_clips_measure(codec):
    portraits = [codec.portrait(f"head:{seed}") for seed in range(4)]
    clip = codec.encode(codec.renderer.render(random_head(2), row) for row in speech(10))
    distances = [np.linalg.norm(clip.identity - portrait.identity) for portrait in portraits]
    assert int(np.argmin(distances)) == 2


@pytest.mark.parametrize("name", ["head:", "head:x", "head:-1", "head:1.5", "head:²"])
def test_unknown_identities_are_named(codec, name):
    with pytest.raises(UserError, match="named identities are"):
        codec.portrait(name)


def test_lip_aperture(codec):
    motion = np.tile(rest_motion(), (4, 1))
    motion[1, JAW], motion[2, JAW] = 0.2, 0.6
    motion[3, [JAW, CLOSE]] = 0.6
    closed, little, wide, held = codec.lip_aperture(motion)
    assert closed == 0 and 0.05 < little < wide < 1 and wide == pytest.approx(3 * little)
    assert held < 0.15 * wide
    with pytest.raises(UserError, match="59 dimensions"):
        codec.lip_aperture(np.zeros((3, 70)))


def test_frames_without_a_face_are_interpolated_and_too_many_are_an_error(codec):
    motion = speech(frames=7)
    frames = [codec.renderer.render(random_head(1), row) for row in motion]
    blank = np.zeros_like(frames[0])
    clip = codec.encode([*frames[:3], blank, *frames[4:]])
    assert clip.found.tolist() == [True] * 3 + [False] + [True] * 3
    assert np.allclose(clip.motion[3], (clip.motion[2] + clip.motion[4]) / 2, atol=1e-4)
    with pytest.raises(UserError, match="2 of 6 frames"):
        codec.encode([*frames[:2], *[blank] * 4])
    with pytest.raises(UserError, match="0 of 0 frames"):
        codec.encode([])


def test_a_second_face_does_not_take_over(codec):
    motion = speech(frames=4)
    small = [cv2.resize(codec.renderer.render(random_head(1), row), (160, 160)) for row in motion]
    large = codec.renderer.render(random_head(2), rest_motion())
    frames = []
    for i, face in enumerate(small):
        frame = np.full((420, 420, 3), 90, np.uint8)
        frame[:160, :160] = face
        if i >= 2:
            frame[160:416, 160:416] = large
        frames.append(frame)
    clip = codec.encode(frames)
    assert clip.motion[:, LAYOUT.index("translationX")].max() < -0.3


def test_a_photograph_becomes_a_head_of_its_shape_and_colour(codec, tmp_path):
    origin = replace(random_head(2), stubble=0.0)
    path = tmp_path / "photo.png"
    posed = rest_motion()
    posed[LAYOUT.index("yaw")] = 12
    cv2.imwrite(str(path), codec.renderer.render(origin, posed)[..., ::-1])
    portrait = codec.portrait(path)
    other = codec.portrait("head:7")
    true = codec.portrait_of(origin).identity
    assert np.linalg.norm(portrait.identity - true) < 0.6 * np.linalg.norm(other.identity - true)
    head = portrait.source.head
    assert np.abs(np.subtract(head.skin, origin.skin)).mean() < 30
    assert min(head.shape) >= 0 and max(head.shape) <= 1
    assert np.array_equal(next(codec.decode(portrait, portrait.rest)), codec.renderer.render(head, rest_motion()))


def test_fit_recovers_the_shape_it_was_given():
    known, mesh = load_landmarks(), load_mesh()
    shapes = mesh.shapes[:, known.vertices]
    true = np.array(random_head(9).shape)
    landmarks = known.template + np.tensordot(true - known.shape, shapes, 1)
    weights = fit_shape(landmarks)
    left = np.tensordot(weights - true, shapes, 1)
    before = np.tensordot(known.shape - true, shapes, 1)
    scale, rotation, translation = similarity(landmarks + left, landmarks)
    misfit = scale * (landmarks + left) @ rotation + translation - landmarks
    assert np.sqrt((misfit[:, :2] ** 2).mean()) < 0.35 * np.sqrt((before[:, :2] ** 2).mean())


def test_pose_of_a_moved_template():
    template = load_landmarks().template
    angles = np.array([8.0, -20.0, 5.0])
    pose = measure_pose(1.2 * template @ rotation_matrix(angles) + np.array([0.1, -0.2, 0.0]))
    assert pose.scale == pytest.approx(1.2) and np.allclose(pose.translation, [0.1, -0.2])
    assert np.allclose(pose.angles[1:], angles[1:])


def test_bad_portraits_are_one_clear_line(codec, tmp_path):
    text, empty, wall = tmp_path / "text.png", tmp_path / "empty.jpg", tmp_path / "wall.png"
    text.write_text("not an image")
    empty.touch()
    cv2.imwrite(str(wall), np.full((200, 200, 3), 128, np.uint8))
    for path, message in (
        (tmp_path / "none.png", "does not exist"),
        (tmp_path, "does not exist"),
        (text, "not an image"),
        (empty, "not an image"),
        (wall, "no face found in .*wall.png"),
    ):
        with pytest.raises(UserError, match=message):
            codec.portrait(path)


def test_of_several_faces_the_largest_is_used_and_said_so(codec, tmp_path, caplog):
    large = codec.renderer.render(random_head(2), rest_motion())
    small = cv2.resize(codec.renderer.render(random_head(1), rest_motion()), (160, 160))
    image = np.full((256, 420, 3), 90, np.uint8)
    image[:, :256], image[:160, 258:418] = large, small
    path = tmp_path / "two.png"
    cv2.imwrite(str(path), image[..., ::-1])
    with caplog.at_level(logging.WARNING):
        portrait = codec.portrait(path)
    assert "2 faces; the largest is used" in caplog.text
    assert np.mean(portrait.source.head.skin) < 140  # head 2 is the darker one


def test_a_portrait_of_another_codec_is_refused(codec):
    with pytest.raises(UserError, match="another codec"):
        next(codec.decode(Portrait(np.zeros(63), np.zeros(59), None), np.zeros((1, 59))))


def test_fingerprint_is_stable_and_the_contract_is_filled(codec):
    assert codec.fingerprint == HeadCodec(64, 1).fingerprint and len(codec.fingerprint) == 64
    assert (codec.name, codec.layout.name, codec.identity_dim, codec.size) == ("head", "head59", 63, 256)
