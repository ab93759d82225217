"""Drift and seams, on motion that has a known amount of either."""

import numpy as np
import pytest

from moda.eval.motion.long_form import Half, drift_of_level, drift_of_spread, jerk_at_seams

RNG = np.random.default_rng(0)
GROUPS = [np.array([True, True, False, False]), np.array([False, False, True, True])]


def halves(change) -> tuple[Half, Half]:
    motion = RNG.normal(0, [1, 1, 3, 3], (4, 600, 4)).cumsum(1) * 0.05
    motion -= motion.mean(1, keepdims=True)
    return Half.of(motion), Half.of(change(motion))


def test_what_repeats_itself_does_not_drift():
    first, last = halves(lambda motion: motion)
    assert drift_of_spread(first, last, GROUPS) == 0 and drift_of_level(first, last, GROUPS) == 0


def test_the_group_that_fades_is_the_one_that_counts():
    first, last = halves(lambda motion: motion * np.array([1, 1, 0.7, 0.7]))
    assert drift_of_spread(first, last, GROUPS) == pytest.approx(0.3)


def test_speed_counts_where_the_deviation_stays():
    first, last = halves(lambda motion: motion[:, RNG.permutation(600)])
    np.testing.assert_allclose(first.variance, last.variance)
    assert drift_of_spread(first, last, GROUPS) > 1


def test_a_level_that_moves_in_all_takes_is_found_and_chance_cancels():
    first, last = halves(lambda motion: motion + 2 * motion.std((0, 1)) * np.array([0, 0, 1, 1]))
    assert drift_of_level(first, last, GROUPS) == pytest.approx(2, rel=0.05)
    sign = np.array([1, -1, 1, -1])[:, None, None]
    first, last = halves(lambda motion: motion + sign)
    assert drift_of_level(first, last, GROUPS) == pytest.approx(0, abs=1e-9)


def test_a_jerk_in_the_overlap_is_a_seam_and_one_elsewhere_is_not():
    hop, overlap = 64, 16
    smooth = np.sin(np.arange(640) / 5)[None, :, None].repeat(3, 2)
    seam, elsewhere = jerk_at_seams(smooth, hop, overlap)
    assert seam / elsewhere == pytest.approx(1, abs=0.1)
    for place in range(-2, overlap + 2):  # first seam: frames 64 to 79
        jumping = smooth.copy()
        jumping[:, hop + place :: hop] += 1
        seam, elsewhere = jerk_at_seams(jumping, hop, overlap)
        assert seam > 2 * elsewhere, place
    jumping = smooth.copy()
    jumping[:, 40::hop] += 1  # the first at 40 as well, before any seam
    seam, elsewhere = jerk_at_seams(jumping, hop, overlap)
    assert elsewhere > 2 * seam
