import numpy as np
import pytest

from moda.motion.layout import ARKIT_BLENDSHAPES, POSE_NAMES
from moda.synthesis.gestures import blinks, brows, gaze, head_pose
from moda.synthesis.voice import Phone

QUIET = [Phone("SIL", 0.0, 400.0)]
T = 10_000


def test_head_movement_has_natural_range_and_is_smooth():
    pose = head_pose(QUIET, T, np.random.default_rng(0), 1.0)
    deviation = dict(zip(POSE_NAMES, pose.std(axis=0), strict=True))
    assert deviation["pitch"] == pytest.approx(2.6, rel=0.15)
    assert deviation["yaw"] == pytest.approx(4.8, rel=0.15)
    assert deviation["roll"] == pytest.approx(1.9, rel=0.15)
    assert np.abs(np.diff(pose, axis=0)).max(axis=0)[4:].max() < 2.5  # degrees a frame
    assert np.abs(pose.mean(axis=0))[4:].max() < 1.0


def test_liveliness_scales_and_the_seed_decides():
    calm, lively = (head_pose(QUIET, 100, np.random.default_rng(1), size) for size in (0.5, 1.0))
    assert calm == pytest.approx(0.5 * lively)
    assert not np.allclose(lively, head_pose(QUIET, 100, np.random.default_rng(2), 1.0))


def test_the_head_nods_on_stress():
    phones = [Phone("AA", k, k + 0.2, stressed=True) for k in np.arange(0.0, 400.0, 2.0)]
    nodding = head_pose(phones, T, np.random.default_rng(0), 1.0)[:, POSE_NAMES.index("pitch")]
    still = head_pose(QUIET, T, np.random.default_rng(0), 1.0)[:, POSE_NAMES.index("pitch")]
    nods = np.abs(nodding - still).reshape(-1, 50)
    assert nods[:, 2].mean() > 1.0 > 0.01 > nods[:, 25].mean()


def test_blinks_come_at_the_rate_and_shut_both_eyes():
    curves = blinks(T, np.random.default_rng(0), 15.0)
    left, right = (curves[:, ARKIT_BLENDSHAPES.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    assert np.array_equal(left, right)
    onsets = np.flatnonzero((left[1:] > 0) & (left[:-1] == 0)) + 1
    ends = np.flatnonzero((left[1:] == 0) & (left[:-1] > 0)) + 1
    assert len(onsets) == pytest.approx(15 * T / 25 / 60, rel=0.25)
    for start, end in zip(onsets, ends, strict=True):
        assert 4 <= end - start <= 7
        assert left[start:end].max() == pytest.approx(1.0)
        assert np.argmax(left[start:end]) + 1 <= (end - start) / 2 + 0.5  # closes faster than it opens
    assert np.diff(onsets).min() > 25  # a second apart


def test_the_eyes_stay_together_and_counter_the_head():
    pose = np.zeros((200, 7))
    ahead = gaze(200, np.random.default_rng(0), pose)
    pose[:, POSE_NAMES.index("yaw")] = 10.0
    turned = gaze(200, np.random.default_rng(0), pose)
    for curves in (ahead, turned):
        values = {name: curves[:, index] for index, name in enumerate(ARKIT_BLENDSHAPES) if name.startswith("eyeLook")}
        assert np.array_equal(values["eyeLookOutLeft"], values["eyeLookInRight"])
        assert np.array_equal(values["eyeLookUpLeft"], values["eyeLookUpRight"])
        assert (values["eyeLookUpLeft"] * values["eyeLookDownLeft"]).max() == 0
    across = [c[:, ARKIT_BLENDSHAPES.index("eyeLookOutLeft")] - c[:, ARKIT_BLENDSHAPES.index("eyeLookInLeft")]
              for c in (ahead, turned)]  # fmt: skip
    assert across[1] - across[0] == pytest.approx(10 / 35, abs=0.05)  # turned right, the eyes look left


def test_brows_rise_on_some_stressed_vowels_only():
    phones = [Phone("AA", k, k + 0.2, stressed=bool(k < 200)) for k in np.arange(0.0, 400.0, 2.0)]
    raised = brows(phones, T, np.random.default_rng(0))[:, ARKIT_BLENDSHAPES.index("browInnerUp")]
    assert raised[: T // 2].max() > 0.1
    assert raised[T // 2 + 50 :].max() < 1e-6
