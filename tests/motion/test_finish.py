import numpy as np
import pytest

from moda.errors import UserError
from moda.motion.finish import amplify_lips, shift_gaze, smooth_pose
from moda.motion.layout import get_layout
from moda.motion.published import moda_statistics

LAYOUT = get_layout("liveportrait70")
LIPS = list(LAYOUT.subsets["lips"])
POSE = slice(63, 70)


def motion(frames, seed=0):
    return np.random.default_rng(seed).standard_normal((frames, 70)).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_pose_is_averaged_over_three_frames_and_expression_left_alone(frames):
    before = motion(frames)
    after = smooth_pose(before, LAYOUT)
    np.testing.assert_array_equal(after[:, :63], before[:, :63])
    for t in range(frames):
        np.testing.assert_allclose(after[t, POSE], before[max(t - 1, 0) : t + 2, POSE].mean(0), rtol=1e-5, atol=1e-6)


def test_a_straight_line_stays_one_but_at_its_ends():
    line = np.linspace(0, 1, 20, dtype=np.float32)[:, None] * np.ones(70, np.float32)
    np.testing.assert_allclose(smooth_pose(line, LAYOUT)[1:-1], line[1:-1], atol=1e-6)


def test_lips_go_further_from_their_rest_by_the_published_gain():
    statistics, rest = moda_statistics(), motion(1, 1)[0]
    before = np.tile(rest, (3, 1))
    for frame, distance in ((1, 1.0), (2, 4.0)):  # in normalised space, along one dimension
        before[frame, LIPS[0]] += distance * statistics.divisor[LIPS[0]]
    after = amplify_lips(before, rest, statistics)
    others = [index for index in range(70) if index not in LIPS]
    np.testing.assert_array_equal(after[:, others], before[:, others])
    np.testing.assert_allclose(after[0], rest)
    for frame, distance in ((1, 1.0), (2, 4.0)):
        gain = 1 + (1 / (1 + np.exp(-5 * distance)) - 0.5) / (0.1 * 4.0 + 0.05)
        moved = (after[frame, LIPS[0]] - rest[LIPS[0]]) / statistics.divisor[LIPS[0]]
        assert moved == pytest.approx(gain * distance, rel=1e-3)


def test_resting_lips_stay_at_rest():
    rest = motion(1)[0]
    np.testing.assert_array_equal(amplify_lips(np.tile(rest, (4, 1)), rest, moda_statistics()), np.tile(rest, (4, 1)))


def test_gaze_is_shifted_in_eight_numbers_of_one_layout():
    before = motion(5)
    change = shift_gaze(before, LAYOUT) - before
    moved = {LAYOUT.names[index]: change[0, index] for index in np.flatnonzero(change[0])}
    assert moved == pytest.approx(
        {"expression11Y": 0.0025, "expression15Y": 0.0025, "expression13Y": 0.00075, "expression16Y": 0.00075}, abs=1e-6
    )
    with pytest.raises(UserError, match="liveportrait70, not head59"):
        shift_gaze(np.zeros((1, 59)), get_layout("head59"))


def test_nothing_is_changed_in_place():
    before, statistics = motion(6), moda_statistics()
    kept = before.copy()
    for change in (
        lambda: smooth_pose(before, LAYOUT),
        lambda: amplify_lips(before, before[0], statistics),
        lambda: shift_gaze(before, LAYOUT),
    ):
        assert not np.array_equal(change(), kept)
    np.testing.assert_array_equal(before, kept)
