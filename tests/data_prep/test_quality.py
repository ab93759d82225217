"""What is measured of faces, cameras, heads, voices and sync: properties and closed forms."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from moda.data_prep.camera import CameraMotion
from moda.data_prep.clip import steady
from moda.data_prep.emotion import emotion_of
from moda.data_prep.head_motion import beyond, head_motion
from moda.data_prep.identity import spread
from moda.data_prep.occlusion import CHIN, EYES, occlusion, turned
from moda.data_prep.sharpness import sharpness
from moda.data_prep.sync import Sync, sync_by_loudness, sync_by_network
from moda.data_prep.track import Seen
from moda.eval.networks.emotion import EMOTIONS
from moda.motion.layout import get_layout

LAYOUT = get_layout("head59")


def texture(seed: int, size=(240, 320), fine: float = 2.0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=size), fine)
    grey = np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def landmarks(shift: float = 0.0) -> np.ndarray:
    points = np.full((478, 2), 120.0)
    points[list(EYES)] = [(100 + shift, 80), (160 + shift, 80)]
    points[CHIN] = (130 + shift, 150)
    return points


def test_blur_lowers_sharpness_and_size_and_light_do_not():
    picture, seen = texture(0), Seen((40, 40, 200, 200))
    sharp = sharpness(picture, seen)
    blurred = [sharpness(cv2.GaussianBlur(picture, (0, 0), sigma), seen) for sigma in (1, 2, 4)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert sharpness((picture * 0.6 + 20).astype(np.uint8), seen) == pytest.approx(sharp, rel=0.1)
    small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert sharpness(small, Seen((10, 10, 50, 50))) < 0.75 * sharp  # enlarged, it shows less
    assert np.isnan(sharpness(picture, Seen((400, 0, 500, 90))))


def test_a_hand_before_a_face_is_a_covered_part_and_a_moving_head_is_none():
    face = texture(1)
    looks = []
    for k in range(20):
        moved = np.roll(face, 2 * k, axis=1)
        looks.append(turned(moved, Seen((90, 60, 170, 160), landmarks(2.0 * k))))
    assert occlusion(looks) < 0.1
    hand = face.copy()
    hand[85:125, 95:165] = 230
    covered = turned(hand, Seen((90, 60, 170, 160), landmarks()))
    assert occlusion([*looks[:17], covered, covered, covered]) > 0.25
    darker = [look * 0.5 + 10 for look in looks[:3]]
    assert occlusion([*looks, *darker]) < 0.1  # light is no hand
    assert turned(face, Seen((0, 0, 1, 1))) is None and np.isnan(occlusion(looks[:2]))


@pytest.mark.parametrize("pixels", [0, 3, 8])
def test_the_shift_of_the_background_is_told_in_sizes_of_the_face(pixels: int):
    wide, face = texture(2, (240, 480), 6), (120.0, 60.0, 200.0, 140.0)
    camera = CameraMotion()
    values = [camera.add(np.ascontiguousarray(wide[:, 20 + pixels * k : 340 + pixels * k]), face) for k in range(5)]
    assert np.isnan(values[0]) and np.nanmedian(values) == pytest.approx(pixels / 80, abs=0.02)


def test_a_face_that_fills_the_frame_tells_nothing_of_the_camera():
    camera = CameraMotion()
    assert all(np.isnan(camera.add(texture(0), (20, 20, 300, 220))) for _ in range(3))


def test_restlessness_is_the_deviation_of_steps_and_noise_of_measuring_hardly_counts():
    rng, time = np.random.default_rng(0), np.arange(500) / 25
    motion = np.zeros((500, LAYOUT.dim))
    motion[:, LAYOUT.index("yaw")] = 20 * np.sin(2 * np.pi * 0.5 * time)
    values = head_motion(motion, LAYOUT)
    assert values["yaw"] == pytest.approx(20 * 2 * np.pi * 0.5 / 25 / np.sqrt(2), rel=0.06)  # of the derivative
    assert values["pitch"] == values["roll"] == values["translation"] == 0
    motion[:, LAYOUT.index("pitch")] = rng.normal(0, 0.8, 500)  # whose steps alone deviate by 1.1
    assert head_motion(motion, LAYOUT)["pitch"] < 0.15
    assert head_motion(motion[:1], LAYOUT)["yaw"] == 0


def test_what_is_beyond_its_limit_is_named():
    values = {"pitch": 0.5, "yaw": 1.2, "roll": 0.1, "translation": 0.02}
    assert beyond(values, {"pitch": 0.9, "yaw": 1.0}) == (
        "the head is restless: yaw changes by 1.2° a frame, more than 1°"
    )
    assert beyond(values, {"yaw": None, "translation": 0.03}) is None
    assert beyond({"yaw": 1.0004}, {"yaw": 1.0}) == "the head is restless: yaw changes by 1.0004° a frame, more than 1°"


def speech(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(lips (T,), sound (640 T,)): noise whose strength follows the lips."""
    rng = np.random.default_rng(seed)
    lips = np.clip(gaussian_filter(rng.normal(size=frames), 2), 0, None)
    strength = np.interp(np.arange(640 * frames) / 640, np.arange(frames), lips) / lips.max()
    return lips, (0.3 * strength * rng.normal(size=640 * frames)).astype(np.float32)


@pytest.mark.parametrize("late", [-9, -6, 0, 6, 9])
def test_sound_that_is_moved_is_found_and_moved_back(late: int):
    lips, sound = speech(250)
    found = sync_by_loudness(lips, np.roll(sound, 640 * late))
    assert found is not None and abs(found.offset - late) <= 2
    assert abs(late - found.correction) <= 2 and (found.correction == 0) == (late == 0)


def test_sound_of_another_clip_is_not_moved():
    for seed in range(1, 12):
        found = sync_by_loudness(speech(250)[0], speech(250, seed)[1])
        assert found is not None and found.correction == 0 and found.score < 0.7


def test_what_stands_still_has_no_sync():
    assert sync_by_loudness(np.zeros(250), speech(250)[1]) is None
    assert sync_by_loudness(*speech(20)) is None
    assert Sync(1, 0.9, True).correction == 0 and Sync(2, 0.9, True).correction == 2


def test_the_network_s_offset_is_that_of_early_sound():
    @dataclass
    class Score:
        offset: int
        sync_c: float

    crops = [np.zeros((224, 224, 3), np.uint8)] * 30
    found = sync_by_network(crops, np.zeros(30 * 640, np.float32), lambda frames, sound: Score(-3, 5.0))
    assert found == Sync(3, 5.0, True)  # late by three: to be taken three frames earlier


def test_the_emotion_of_a_clip_is_the_mean_of_its_looks():
    happy, neutral = np.eye(7)[EMOTIONS.index("happy")], np.eye(7)[EMOTIONS.index("neutral")]
    found = emotion_of([happy, happy, neutral, happy])
    assert found is not None and (found.name, found.probability, found.intensity) == ("happiness", 0.75, 0.75)
    assert emotion_of([]) is None


def test_spread_is_the_largest_distance():
    assert spread([np.zeros(3), np.array([0, 3, 4.0]), np.ones(3)]) == 5.0 and spread([np.ones(3)]) == 0


def test_a_box_that_jumps_out_once_does_not_widen_the_crop():
    boxes = np.tile([10.0, 10, 50, 50], (9, 1))
    boxes[4] = [0, 0, 300, 300]
    assert np.all(steady(boxes) == [10, 10, 50, 50])
    sweep = np.linspace([0, 0, 40, 40], [80, 0, 120, 40], 9)
    np.testing.assert_array_equal(steady(sweep), sweep)  # a head that moves keeps its way
