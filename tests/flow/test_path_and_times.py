import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from moda.errors import UserError
from moda.flow.path import cosine_sigma, data_estimate, interpolate, shift_sigma, timestep_of
from moda.flow.rectified import RectifiedFlow
from moda.flow.solvers import adams_bashforth, cosine_grid, euler, published_grid, uniform_grid
from moda.flow.time_sampling import CosineTimes, LogitNormalTimes, UniformTimes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_path_runs_straight_from_data_to_noise():
    data, noise = torch.randn(2, 5, 3, 4, generator=seeded()).unbind()
    x, velocity = interpolate(data, noise, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(x[0], data[0])
    torch.testing.assert_close(x[4], noise[4])
    # the velocity is the derivative by sigma
    later, _ = interpolate(data, noise, torch.tensor([0.5] * 5))
    torch.testing.assert_close(later[1] - x[1], 0.25 * velocity[1])


def test_data_estimate_with_the_true_velocity_is_the_data():
    data, noise = torch.randn(2, 6, 3, generator=seeded()).unbind()
    sigma = torch.rand(6, generator=seeded(1))
    x, velocity = interpolate(data, noise, sigma)
    torch.testing.assert_close(data_estimate(x, velocity, sigma), data)


def test_sigma_one_is_timestep_1000_in_float32():
    assert timestep_of(torch.tensor([1.0, 0.001], dtype=torch.float64)).tolist() == [1000.0, 1.0]
    assert timestep_of(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == torch.float32


def test_shift_keeps_the_ends_and_is_undone_by_its_inverse():
    sigma = torch.linspace(0, 1, 11)
    shifted = shift_sigma(sigma, 3.0)
    assert shifted[0] == 0 and shifted[-1] == 1
    assert (shifted[1:-1] > sigma[1:-1]).all()
    torch.testing.assert_close(shift_sigma(shifted, 1 / 3), sigma)


def test_uniform_times_are_uniform():
    sigma = UniformTimes(0.001, 1.0)(200_000, seeded())
    assert sigma.min() >= 0.001 and sigma.max() <= 1 and sigma.dtype == torch.float32
    assert abs(sigma.mean().item() - 0.5005) < 0.003
    assert abs(sigma.std().item() - 0.999 / 12**0.5) < 0.003


def test_logit_normal_times_have_the_stated_logits():
    sigma = LogitNormalTimes(0.5, 0.8)(200_000, seeded())
    logits = torch.logit(sigma.double())
    assert abs(logits.mean().item() - 0.5) < 0.01
    assert abs(logits.std().item() - 0.8) < 0.01


def test_times_follow_the_generator():
    for times in (UniformTimes(), LogitNormalTimes()):
        torch.testing.assert_close(times(8, seeded(3)), times(8, seeded(3)), rtol=0, atol=0)
        assert not torch.equal(times(8, seeded(3)), times(8, seeded(4)))


def test_shifted_times_put_more_weight_on_noise():
    assert UniformTimes(shift=3.0)(10_000, seeded()).mean() > 0.6


def test_the_cosine_schedule_is_the_same_mixture_on_the_straight_path():
    time, data, noise = torch.tensor([0.0, 0.3, 0.7, 1.0]), torch.tensor(1.3), torch.tensor(-0.4)
    angle = (time + 0.008) / 1.008 * torch.pi / 2
    mixed = angle.cos() * data + angle.sin() * noise
    sigma = cosine_sigma(time)
    on_path = sigma * noise + (1 - sigma) * data
    torch.testing.assert_close(mixed / (angle.cos() + angle.sin()), on_path)
    assert sigma[-1] == 1 and CosineTimes()(1000, seeded()).max() <= 1


def test_euler_on_the_cosine_grid_is_ddim():
    """For a network whose estimate of the data depends on where it is asked."""

    def estimate(x, sigma):
        return torch.tanh(x * (1 - sigma)) + 0.2

    steps, offset = 6, 0.008
    x = start = torch.tensor([0.3, -1.2, 2.0])
    angles = (torch.linspace(1, 0, steps + 1) + offset) / (1 + offset) * torch.pi / 2
    for k, (now, then) in enumerate(pairwise(angles.tolist())):
        sigma = math.sin(now) / (math.sin(now) + math.cos(now)) if k else 1.0
        data = estimate(x / (math.sin(now) + math.cos(now)), sigma)  # on the path's scale
        noise = (x - math.cos(now) * data) / math.sin(now)
        x = data if k == steps - 1 else math.cos(then) * data + math.sin(then) * noise

    def velocity(at, sigma):
        return (at - estimate(at, sigma)) / sigma

    torch.testing.assert_close(euler(velocity, start, cosine_grid(steps)), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformTimes(minimum=0.5, maximum=0.5),
        lambda: UniformTimes(shift=0.0),
        lambda: LogitNormalTimes(std=0.0),
        lambda: CosineTimes(offset=0.0),
        lambda: RectifiedFlow(guided=("audio", "pose")),
        lambda: RectifiedFlow(guided=()),
        lambda: RectifiedFlow(steps=0),
        lambda: RectifiedFlow(guidance=-1.0),
        lambda: RectifiedFlow(grid=partial(uniform_grid, shift=0.0)),
        lambda: RectifiedFlow(grid=partial(uniform_grid, shift=-1.0)),
        lambda: RectifiedFlow(grid=partial(published_grid, minimum=2.0)),
        lambda: RectifiedFlow(grid=published_grid, steps=1),
        lambda: RectifiedFlow(solver=partial(adams_bashforth, order=1)),
    ],
)
def test_settings_that_cannot_work_are_refused(make):
    with pytest.raises(UserError):
        make()
