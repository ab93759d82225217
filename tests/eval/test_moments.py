"""Streamed moments against numpy's of everything at once."""

import numpy as np
import pytest
import torch

from moda.errors import UserError
from moda.eval.moments import Moments, merge_packed


def features(n=400, d=6, mean=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + mean


def assert_same(a, b, rtol=1e-9):
    assert a.count == b.count
    np.testing.assert_allclose(a.mean, b.mean, rtol=rtol)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=rtol)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("splits", [[], [1, 2, 3], [57, 199, 200, 390], list(range(1, 400))])
def test_moments_do_not_depend_on_how_the_features_arrive(mean, splits):
    x = features(mean=mean)
    streamed = Moments.empty(6)
    for batch in np.split(x, splits):
        streamed.update(batch)
    assert streamed.count == 400
    np.testing.assert_allclose(streamed.mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(streamed.covariance, np.cov(x, rowvar=False), rtol=1e-9)


def test_single_precision_features_are_summed_in_double():
    x = (features(5000, 3, mean=1000) * 1.0).astype(np.float32)
    streamed = Moments.empty(3)
    for batch in torch.from_numpy(x).split(16):
        streamed.update(batch)
    np.testing.assert_allclose(streamed.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)


def test_merging_is_associative_commutative_and_leaves_its_parts():
    a, b, c = (Moments.of(part) for part in np.split(features(mean=1e4), [3, 120]))
    before = b.packed.clone()
    left = Moments.merged([Moments.merged([a, b]), c])
    right = Moments.merged([a, Moments.merged([b, c])])
    assert_same(left, right)
    assert_same(left, Moments.merged([c, a, b]))
    assert_same(left, Moments.of(features(mean=1e4)))
    assert torch.equal(before, b.packed)


def test_a_rank_without_features_changes_nothing():
    whole, none = Moments.of(features()), Moments.empty(6)
    stacked = torch.stack([none.packed, whole.packed, none.packed])
    assert torch.equal(merge_packed(stacked), whole.packed)
    assert whole.update(np.zeros((0, 6))).count == 400


def test_projected_moments_are_those_of_the_projected_features():
    x, basis = features(mean=5), np.linalg.qr(features(6, 6, seed=1))[0][:, :2]
    assert_same(Moments.of(x).project(torch.from_numpy(basis)), Moments.of(x @ basis))


def test_one_feature_has_a_mean_and_no_covariance():
    one = Moments.of(features(1))
    assert one.count == 1 and one.mean.isfinite().all()
    with pytest.raises(UserError, match="at least 2 features, not 1"):
        _ = one.covariance


def test_features_that_are_not_finite_are_named_and_not_added():
    x, moments = features(4), Moments.of(features())
    x[2, 1], x[3, 0] = np.nan, np.inf
    with pytest.raises(UserError, match=r"not finite in 2 of 4: row 2, row 3"):
        moments.update(x)
    with pytest.raises(UserError, match=r"in 2 of 4: c\.mp4 frame 7, d\.mp4"):
        moments.update(x, names=["a", "b", "c.mp4 frame 7", "d.mp4"])
    assert_same(moments, Moments.of(features()))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"\(batch, 6\), not \(4, 5\)"):
        Moments.empty(6).update(features(4, 5))
    with pytest.raises(UserError, match=r"not \(6,\)"):
        Moments.of(np.zeros(6))
    with pytest.raises(UserError, match="5 and 6 dimensions"):
        Moments.of(features()).merge(Moments.empty(5))
