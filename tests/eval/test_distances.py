"""Distances of feature sets against closed forms, brute force and what they must do."""

import numpy as np
import pytest
import torch

from moda.errors import UserError
from moda.eval.distances import extrapolate_frechet, frechet_distance, kernel_distance, root, too_few
from moda.eval.moments import Moments


def normal(n, d, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (n, d))


def gaussian(mean, covariance, count=1001):
    """Moments that are exactly these."""
    moments = Moments.empty(len(mean))
    moments.packed[0, 0] = count
    moments.mean.copy_(torch.as_tensor(mean))
    moments.scatter.copy_(torch.as_tensor(covariance) * (count - 1))
    return moments


def test_frechet_distance_of_gaussians_is_the_closed_form():
    turn = np.linalg.qr(normal(3, 3))[0]
    a = gaussian([0.0, 0, 0], turn @ np.diag([1.0, 4, 9]) @ turn.T)
    b = gaussian([1.0, 0, -2], turn @ np.diag([4.0, 4, 1]) @ turn.T)
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (1 - 2) ** 2 + (3 - 1) ** 2, rel=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_frechet_distance_of_covariances_that_do_not_commute():
    # in two dimensions tr(M^1/2) = sqrt(tr M + 2 sqrt(det M))
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    crossed = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * crossed
    assert frechet_distance(gaussian([0.0, 0], a), gaussian([0.0, 0], b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 40, 500])
def test_a_set_is_no_distance_from_itself_at_any_rank(n):
    moments = Moments.of(normal(n, 100, mean=1000))
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-9)


def test_rank_deficient_covariances_give_what_their_factors_give():
    x, y = normal(30, 100), normal(20, 100, seed=1) * 2
    # the trace of the root of the product is the nuclear norm of the product of the centred samples
    factor_x, factor_y = (x - x.mean(0)) / np.sqrt(29), (y - y.mean(0)) / np.sqrt(19)
    crossed = np.linalg.svd(factor_x @ factor_y.T, compute_uv=False).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (factor_x**2).sum() + (factor_y**2).sum() - 2 * crossed
    a, b = Moments.of(x), Moments.of(y)
    assert root(a.covariance).shape == (100, 29)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_two_still_sets_are_as_far_apart_as_their_means():
    still, other = Moments.of(np.zeros((5, 4))), Moments.of(np.ones((5, 4)))
    assert frechet_distance(still, other) == pytest.approx(4)


def test_distances_grow_with_noise():
    x = normal(500, 16)
    noisy = [x + level * normal(500, 16, seed=1) for level in (0, 0.2, 0.4, 0.8, 1.6)]
    for distance in (
        [frechet_distance(Moments.of(x), Moments.of(y)) for y in noisy],
        [kernel_distance(x, y).value for y in noisy],
    ):
        assert distance == sorted(distance) and len(set(distance)) == 5


def test_one_feature_and_other_widths_are_refused():
    with pytest.raises(UserError, match="at least 2 features, not 1"):
        frechet_distance(Moments.of(normal(1, 4)), Moments.of(normal(9, 4)))
    with pytest.raises(UserError, match="5 and 4 dimensions"):
        frechet_distance(Moments.of(normal(9, 5)), Moments.of(normal(9, 4)))
    with pytest.raises(UserError, match="at least 2 features on either side, not 1 and 9"):
        kernel_distance(normal(1, 4), normal(9, 4))
    with pytest.raises(UserError, match=r"\(batch, 4\), not \(9, 5\)"):
        kernel_distance(normal(9, 4), normal(9, 5))


def test_too_few_features_for_the_dimensions_are_said():
    assert "400 features are too few for 400 dimensions" in (too_few(400, 400, "FVD") or "")
    assert too_few(401, 400) is None


def test_extrapolation_takes_away_the_bias_of_both_sets():
    found = [
        extrapolate_frechet(normal(600, 8, seed)[:, None], normal(600, 8, 100 + seed)[:, None], seed=seed)
        for seed in range(6)
    ]
    biased = np.mean([each.distances[-1] for each in found])
    assert biased > 0.05
    assert abs(np.mean([each.value for each in found])) < biased / 5
    assert found[0].slope > 0 and found[0].fractions[-1] == 1 and not found[0].caution


def test_extrapolation_thins_whole_clips():
    """Frames that repeat each other are no more features than their clips are."""
    rng = np.random.default_rng(0)

    def clips():
        return list(rng.normal(size=(60, 1, 16)) + rng.normal(size=(60, 40, 16)))

    found = [extrapolate_frechet(clips(), clips(), seed=seed) for seed in range(6)]
    assert abs(np.mean([each.value for each in found])) < np.mean([each.distances[-1] for each in found]) / 3


def test_extrapolation_from_a_whole_reference_recovers_the_distance():
    reference = gaussian(np.zeros(8), np.eye(8))
    sample = normal(3000, 8, mean=0.5)[:, None]
    found = extrapolate_frechet(sample, reference)
    assert found.value == pytest.approx(8 * 0.25, abs=0.2)
    assert found.value < found.distances[-1]
    assert found == extrapolate_frechet(sample, reference)


def test_extrapolation_warns_in_the_singular_region_and_refuses_a_handful():
    with pytest.warns(UserWarning, match="10 features are too few for 16 dimensions"):
        found = extrapolate_frechet(normal(40, 16)[:, None], normal(40, 16, seed=1)[:, None])
    assert "too few" in found.caution
    with pytest.raises(UserError, match="7 clips are too few"):
        extrapolate_frechet(normal(7, 2)[:, None], normal(40, 2)[:, None])


def test_kernel_distance_is_the_u_statistic_whatever_the_blocks():
    x, y = normal(23, 5), normal(17, 5, seed=1, mean=0.4)

    def kernel(a, b):
        return (a @ b.T / 5 + 1) ** 3

    within = sum(
        (kernel(a, a).sum() - np.trace(kernel(a, a))) / (len(a) * (len(a) - 1)) for a in (x, y)
    )  # fmt: skip
    expected = within - 2 * kernel(x, y).mean()
    for block in (1, 7, 1024):
        assert kernel_distance(x, y, block=block).value == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_is_unbiased_and_knows_its_error():
    equal = [kernel_distance(normal(60, 4, seed), normal(60, 4, 1000 + seed)) for seed in range(200)]
    values = np.array([each.value for each in equal])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    shifted = [kernel_distance(normal(60, 4, seed), normal(60, 4, 1000 + seed, mean=0.5)) for seed in range(200)]
    spread = np.std([each.value for each in shifted])
    assert np.mean([each.error for each in shifted]) == pytest.approx(spread, rel=0.2)


def test_kernel_distance_does_not_count_repeated_frames_as_news():
    clip = np.arange(300) // 10
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, y = (mean + np.repeat(rng.normal(size=(30, 4)), 10, 0) for mean in (0, 0.5))
        found.append((kernel_distance(x, y, clips_a=clip, clips_b=clip), kernel_distance(x, y)))
    spread = np.std([by_clip.value for by_clip, _ in found])
    assert np.mean([by_clip.error for by_clip, _ in found]) == pytest.approx(spread, rel=0.25)
    assert np.mean([by_row.error for _, by_row in found]) < spread / 2
    x, y = normal(300, 4), normal(300, 4)
    with pytest.raises(UserError, match="2 clips are named for 300 features"):
        kernel_distance(x, y, clips_a=[1, 2])
