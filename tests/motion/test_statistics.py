import numpy as np
import pytest
import torch

from moda.errors import UserError
from moda.motion import MotionStatistics, StatisticsAccumulator, get_layout

HEAD = get_layout("head59")


def clips(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 10, HEAD.dim)
    return [rng.normal(1000.0, 1.0, (n, HEAD.dim)) * scale for n in (7, 1, 30, 12)]


def test_streaming_moments_equal_numpy_for_any_split() -> None:
    parts = clips()
    whole = np.concatenate(parts)
    left, right = StatisticsAccumulator(HEAD), StatisticsAccumulator(HEAD)
    for index, part in enumerate(parts):
        (left if index % 2 else right).update(part)
    left.merge(right)
    statistics = left.result()
    assert statistics.count == len(whole)
    np.testing.assert_allclose(statistics.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, whole.std(0), rtol=1e-9)


def test_normalize_and_back_keeps_type_and_value() -> None:
    accumulator = StatisticsAccumulator(HEAD)
    for clip in clips():
        accumulator.update(clip)
    statistics = accumulator.result()
    motion = torch.from_numpy(clips(1)[2]).float()
    back = statistics.denormalize(statistics.normalize(motion))
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, motion, rtol=1e-4, atol=1e-3)


def test_a_dead_dimension_is_named_and_not_blown_up() -> None:
    motion = np.random.default_rng(0).normal(size=(50, HEAD.dim))
    tongue = HEAD.index("tongueOut")
    motion[:, tongue] = 0.25 + 1e-7 * np.arange(50)
    accumulator = StatisticsAccumulator(HEAD)
    accumulator.update(motion)
    statistics = accumulator.result()
    assert statistics.dead == ("tongueOut",)
    assert np.abs(statistics.normalize(motion)[:, tongue]).max() < 1e-4
    np.testing.assert_array_equal(statistics.denormalize(motion)[:, tongue], statistics.mean[tongue])


def test_dictionary_round_trip_and_mismatch() -> None:
    accumulator = StatisticsAccumulator(HEAD)
    accumulator.update(clips()[2])
    value = accumulator.result().to_dict()
    again = MotionStatistics.from_dict(value)
    np.testing.assert_array_equal(again.std, accumulator.result().std)
    with pytest.raises(UserError, match="here.json.*59 dimensions"):
        MotionStatistics.from_dict({**value, "mean": [0.0]}, "here.json")
    with pytest.raises(UserError, match="lack 'std'"):
        MotionStatistics.from_dict({k: v for k, v in value.items() if k != "std"})


def test_too_few_frames_is_an_error() -> None:
    with pytest.raises(UserError, match="at least two frames"):
        StatisticsAccumulator(HEAD).result()
