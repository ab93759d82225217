import numpy as np
import pytest

from moda.errors import UserError
from moda.training.checkpoints.averages import (
    Exponential,
    PowerFunction,
    combination,
    gamma_of,
    profile_error,
    profile_product,
)


def profile(decays: list[float]) -> np.ndarray:
    """Weight that each update has in the average after all of them."""
    weights = np.zeros(len(decays))
    for at, decay in enumerate(decays):
        weights *= decay
        weights[at] = 1 - decay
    return weights


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.2])
def test_a_power_function_average_has_the_width_it_is_named_by(sigma_rel: float) -> None:
    steps = 4000
    weights = profile([PowerFunction(sigma_rel).decay(update) for update in range(1, steps + 1)])
    times = np.arange(1, steps + 1) / steps
    mean = (weights * times).sum()
    assert weights.sum() == pytest.approx(1)
    assert np.sqrt((weights * (times - mean) ** 2).sum()) == pytest.approx(sigma_rel, rel=2e-2)


def test_the_exponents_published_for_two_widths() -> None:
    # Karras et al. 2024, section 3: 5 % is gamma 16.97, 10 % is 6.94
    assert gamma_of(0.05) == pytest.approx(16.97, abs=5e-3)
    assert gamma_of(0.10) == pytest.approx(6.94, abs=5e-3)


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.3])
def test_a_width_that_no_profile_has_is_refused(sigma_rel: float) -> None:
    with pytest.raises(UserError, match="must lie in"):
        PowerFunction(sigma_rel)


def test_the_product_of_profiles_is_their_integral() -> None:
    def density(time: np.ndarray, end: float, gamma: float) -> np.ndarray:
        return np.where(time <= end, (gamma + 1) * time**gamma / end ** (gamma + 1), 0)

    time = np.linspace(0, 3, 300_001)
    for (t_a, g_a), (t_b, g_b) in [((1.0, 5.0), (2.0, 3.0)), ((2.5, 17.0), (2.0, 7.0)), ((2.0, 6.0), (2.0, 6.0))]:
        numeric = np.trapezoid(density(time, t_a, g_a) * density(time, t_b, g_b), time)
        exact = profile_product(*(np.array(value) for value in (t_a, g_a, t_b, g_b)))
        assert float(exact) == pytest.approx(numeric, rel=1e-3)


def test_an_average_of_any_width_is_rebuilt_from_snapshots_of_two() -> None:
    steps, every, target = 2000, 100, 0.07
    weights = np.cumsum(np.random.default_rng(0).normal(size=(steps, 3)), axis=0)  # a network's walk
    tracked = {width: np.zeros(3) for width in (0.05, 0.1, target)}
    snapshots, times, widths = [], [], []
    for update in range(1, steps + 1):
        for width in tracked:
            decay = PowerFunction(width).decay(update)
            tracked[width] = decay * tracked[width] + (1 - decay) * weights[update - 1]
        if update % every == 0:
            for width in (0.05, 0.1):
                snapshots.append(tracked[width])
                times.append(update)
                widths.append(width)
    factors = combination(times, widths, steps, target)
    assert profile_error(times, widths, factors, steps, target) < 0.02
    rebuilt = factors @ np.array(snapshots)
    spread = np.abs(tracked[0.05] - tracked[0.1])
    assert (np.abs(rebuilt - tracked[target]) < 0.05 * spread + 0.05).all()


def test_a_snapshot_of_the_wanted_width_is_taken_as_it_is() -> None:
    factors = combination([100, 100], [0.05, 0.1], 100, 0.1)
    np.testing.assert_allclose(factors, [0, 1], atol=1e-9)


def test_the_exponential_average_does_not_hang_on_the_start() -> None:
    weights = profile([Exponential(0.999).decay(update) for update in range(1, 101)])
    assert weights[:10].sum() < 1e-3
    with pytest.raises(UserError, match="ema.decay=1"):
        Exponential(1)
