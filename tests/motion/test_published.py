import json

import numpy as np
import pytest

from moda.errors import UserError
from moda.motion.published import moda_statistics
from moda.motion.reference import resize, scale_ratio
from moda.motion.statistics import MotionStatistics


def test_the_published_statistics_are_the_published_numbers():
    statistics = moda_statistics()
    assert statistics.layout.name == "liveportrait70" and statistics.mean.shape == statistics.std.shape == (70,)
    pose = {"scale": (1.2865, 0.0691), "translationX": (-0.0133, 0.0658), "translationY": (0.0999, 0.0348),
            "translationZ": (0, 0), "pitch": (-2.341, 8.882), "yaw": (-0.246, 23.855), "roll": (-0.327, 5.606)}  # fmt: skip
    for name, (mean, std) in pose.items():
        index = statistics.layout.index(name)
        assert statistics.mean[index] == pytest.approx(mean, abs=6e-4)
        assert statistics.std[index] == pytest.approx(std, abs=6e-4)
    assert statistics.std[statistics.layout.index("expression5Y")] == pytest.approx(0.0330, abs=6e-5)
    assert (statistics.std[:63] < 1e-4).sum() == 17 and (statistics.std[:63] < 1e-5).sum() == 10


def test_they_are_used_as_published_no_dimension_is_dead():
    statistics, motion = moda_statistics(), np.random.default_rng(0).standard_normal((4, 70))
    assert statistics.alive.all() and not statistics.dead
    np.testing.assert_allclose(
        statistics.normalize(motion), (motion - statistics.mean) / (statistics.std + 1e-5), rtol=1e-12
    )
    np.testing.assert_allclose(statistics.denormalize(statistics.normalize(motion)), motion, atol=1e-12)


def test_they_come_back_from_json_and_statistics_without_epsilon_are_as_before():
    statistics = moda_statistics()
    again = MotionStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    np.testing.assert_array_equal(again.divisor, statistics.divisor)
    plain = MotionStatistics(statistics.layout, statistics.mean, statistics.std, 9)
    assert "epsilon" not in plain.to_dict() and len(plain.dead) == 18
    assert MotionStatistics.from_dict(plain.to_dict()).epsilon is None


def test_a_face_at_the_mean_scale_is_left_alone_and_resizing_inverts():
    statistics = moda_statistics()
    scale = statistics.layout.index("scale")
    reference = statistics.mean.copy()
    assert scale_ratio(reference, statistics) == 1
    reference[scale] *= 1.5
    ratio = scale_ratio(reference, statistics)
    assert ratio == pytest.approx(1.5)
    motion = np.random.default_rng(0).standard_normal((5, 70)).astype(np.float32)
    small = resize(motion, 1 / ratio, statistics.layout)
    np.testing.assert_allclose(small[:, 63:67], motion[:, 63:67] / 1.5, rtol=1e-6)
    np.testing.assert_array_equal(small[:, :63], motion[:, :63])
    np.testing.assert_array_equal(small[:, 67:], motion[:, 67:])
    np.testing.assert_allclose(resize(small, ratio, statistics.layout), motion, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale):
    reference = np.zeros(70)
    reference[63] = scale
    with pytest.raises(UserError, match="reference_scale=false"):
        scale_ratio(reference, moda_statistics())
