"""Bootstrap intervals: what they cover in simulations with a known truth, and what they refuse."""

import numpy as np
import pytest
import torch

from moda.errors import UserError
from moda.eval import intervals
from moda.eval.distances import frechet_distance
from moda.eval.intervals import (
    frechet_differences,
    frechet_interval,
    leading_components,
    mean_interval,
    paired_difference,
    resample_counts,
)
from moda.eval.moments import Moments


def pair_of_features(clips=40, d=4, shift=0.3, seed=0):
    """Generated features and their reference's: (clips, 10, d) each."""
    rng = np.random.default_rng(seed)
    person = rng.normal(size=(clips, 1, d))
    reference = person + 0.7 * rng.normal(size=(clips, 10, d))
    generated = 0.6 * person + 0.8 * rng.normal(size=(clips, 1, d)) + shift + 0.7 * rng.normal(size=(clips, 10, d))
    return generated, reference


def pair_of_sets(**settings):
    """Moments by clip of generated features and of their reference, and the features."""
    generated, reference = pair_of_features(**settings)
    return by_clip(generated), by_clip(reference), generated, reference


def by_clip(features):
    return {f"clip{index}": Moments.of(each) for index, each in enumerate(features)}


def distance(a, b):
    return frechet_distance(*(Moments.of(x.reshape(-1, x.shape[-1])) for x in (a, b)))


def test_resamples_draw_as_many_clips_as_there_are():
    counts = resample_counts(30, 500, seed=3)
    assert counts.shape == (500, 30) and (counts.sum(1) == 30).all() and counts.mean(0) == pytest.approx(1, abs=0.2)
    assert (counts == resample_counts(30, 500, seed=3)).all() and (counts != resample_counts(30, 500, seed=4)).any()


def test_the_interval_of_a_mean_narrows_with_more_clips():
    values = np.random.default_rng(0).normal(0.6, 0.2, 400)
    found = mean_interval(values)
    assert found.value == pytest.approx(values.mean()) and found.low < found.value < found.high and found.n == 400
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.15)
    few = mean_interval(values[:25])
    assert few.high - few.low > 2 * (found.high - found.low)
    assert mean_interval(values) == found and mean_interval(values, seed=1) != found
    half = mean_interval(values, level=0.5)
    assert half.high - half.low == pytest.approx((found.high - found.low) * 0.674 / 1.96, rel=0.1)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(3, 1, 40), resamples=400, seed=trial) for trial in range(600)]
    assert 0.91 < np.mean([each.low <= 3 <= each.high for each in found]) < 0.97
    skewed = [mean_interval(rng.exponential(3, 100), resamples=400, seed=trial) for trial in range(600)]
    assert 0.90 < np.mean([each.low <= 3 <= each.high for each in skewed]) < 0.97


def test_paired_differences_cover_the_truth_and_leave_the_clips_out_of_it():
    rng = np.random.default_rng(0)
    covered, narrower = [], []
    for trial in range(300):
        difficulty = rng.normal(0, 2, 40)
        first, second = (
            {str(clip): value for clip, value in enumerate(difficulty + mean + 0.3 * rng.normal(size=40))}
            for mean in (0.2, 0)
        )
        found = paired_difference(first, second, resamples=400, seed=trial)
        alone = mean_interval(list(first.values()), resamples=400, seed=trial)
        covered.append(found.low <= 0.2 <= found.high)
        narrower.append((found.high - found.low) / (alone.high - alone.low))
    assert 0.90 < np.mean(covered) < 0.98 and np.mean(narrower) < 0.3


def test_pairs_are_the_clips_that_both_methods_have():
    first = {str(clip): float(clip) for clip in range(30)}
    second = {str(clip): clip - 1.0 for clip in range(29, 4, -1)} | {"other": 100.0}
    found = paired_difference(first, second)
    assert found.n == 25 and (found.value, found.low, found.high) == (1, 1, 1)
    with pytest.raises(UserError, match="not finite for 7"):
        paired_difference(first, second | {"7": float("nan")})
    with pytest.raises(UserError, match="at least 2 of them in common, not 0"):
        paired_difference(first, {"other": 1.0})


def test_too_few_clips_are_refused_or_said():
    with pytest.raises(UserError, match="at least 2 of them in common, not 1"):
        mean_interval([1.0])
    with pytest.warns(UserWarning, match="5 clips are few"):
        assert "5 clips" in mean_interval([1.0, 2, 3, 4, 5]).caution
    assert not mean_interval(np.arange(20)).caution
    with pytest.raises(UserError, match="value 1 of 3 is not finite"):
        mean_interval([1.0, float("nan"), 2.0])
    with pytest.raises(UserError, match="level in"):
        mean_interval(np.arange(30), level=95)


def test_resampled_moments_are_those_of_the_features_drawn():
    generated, reference, x, y = pair_of_sets(clips=25)
    counts = resample_counts(25, 100, seed=5)
    direct = np.array([distance(np.repeat(x, row, axis=0), np.repeat(y, row, axis=0)) for row in counts])
    found = frechet_interval(generated, reference, resamples=100, seed=5)
    value = distance(x, y)
    assert found.value == pytest.approx(value, rel=1e-9) and found.n == 25
    assert found.bias == pytest.approx(direct.mean() - value, rel=1e-6)
    low, high = np.quantile(direct - direct.mean() + value, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)


def test_a_whole_reference_is_not_drawn():
    generated, reference, x, y = pair_of_sets(clips=25)
    counts = resample_counts(25, 100)
    direct = np.array([distance(np.repeat(x, row, axis=0), y) for row in counts])
    found = frechet_interval(generated, Moments.merged(list(reference.values())), resamples=100)
    assert found.bias == pytest.approx(direct.mean() - distance(x, y), rel=1e-6)


def test_the_interval_of_a_distance_covers_what_other_clips_would_give():
    truth = np.mean([distance(*pair_of_features(seed=seed)) for seed in range(1000, 1200)])
    found = [frechet_interval(*pair_of_sets(seed=seed)[:2], resamples=100) for seed in range(50)]
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.9
    width = np.mean([each.high - each.low for each in found])
    spread = np.std([each.value for each in found])
    assert 3 * spread < width < 6 * spread  # 3.9 would be exact


def test_a_difference_of_distances_is_drawn_together():
    good, reference, x, y = pair_of_sets(shift=0.3)
    worse = by_clip(x + 0.5)
    pairs = frechet_differences({"worse": worse, "good": good, "again": good}, reference, resamples=300)
    assert list(pairs) == [("worse", "good"), ("worse", "again"), ("good", "again")]
    found, same = pairs["worse", "good"], pairs["good", "again"]
    assert found.value == pytest.approx(distance(x + 0.5, y) - distance(x, y), rel=1e-9)
    assert 0 < found.low < found.value < found.high
    assert (same.value, same.low, same.high) == (0, 0, 0)
    alone = frechet_differences({"worse": worse, "good": good}, reference, resamples=300)
    assert alone == {("worse", "good"): found}


def test_many_dimensions_are_resampled_in_the_leading_ones(monkeypatch):
    falling = np.arange(1, 61) ** -1.0
    _, _, x, y = pair_of_sets(clips=30, d=60)
    generated, reference = by_clip(x * falling), by_clip(y * falling)
    full = frechet_interval(generated, reference, resamples=150)
    monkeypatch.setattr(intervals, "MOST_DIMENSIONS", 20)
    few = frechet_interval(generated, reference, resamples=150)
    assert few.value == full.value != few.bias
    assert (few.low, few.high) == pytest.approx((full.low, full.high), rel=0.05)
    basis = leading_components([Moments.of(x.reshape(-1, 60) * falling), Moments.of(y.reshape(-1, 60) * falling)], 20)
    projected = frechet_interval(
        *({key: clip.project(basis) for key, clip in clips.items()} for clips in (generated, reference)), resamples=150
    )
    assert basis.shape == (60, 20)
    assert projected.around(full.value).high == pytest.approx(few.high, rel=1e-6)


def test_clips_with_one_feature_each_and_still_sets_have_intervals():
    rng = np.random.default_rng(0)
    generated, reference = (by_clip(rng.normal(size=(25, 1, 3))) for _ in range(2))
    found = frechet_interval(generated, reference, resamples=100)
    assert np.isfinite([found.low, found.high]).all() and found.low < found.value < found.high
    still = by_clip(np.ones((25, 2, 3)))
    assert frechet_interval(still, still, resamples=100).high == pytest.approx(0, abs=1e-9)


def test_clips_without_features_or_in_common_are_named_or_refused():
    generated, reference, *_ = pair_of_sets(clips=25)
    with pytest.raises(UserError, match=r"no features of clip3; leave"):
        frechet_interval(generated | {"clip3": Moments.empty(4)}, reference)
    with pytest.raises(UserError, match="in common, not 0"):
        frechet_interval(generated, {"elsewhere": reference["clip0"]})
    with pytest.warns(UserWarning, match="3 clips are few"):
        frechet_interval({key: generated[key] for key in ("clip0", "clip1", "clip2")}, reference, resamples=100)
    assert torch.equal(generated["clip0"].packed, pair_of_sets(clips=25)[0]["clip0"].packed)  # left as they were
