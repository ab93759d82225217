"""Against the one case that is solved on paper: Gaussian data N(m, s^2).

x_sigma has mean (1 - sigma) m and variance V = sigma^2 + (1 - sigma)^2 s^2; the velocity that flow
matching learns is E[noise - data | x], linear in x, and its flow carries noise z to m + s z.
"""

import math

import pytest
import torch

from moda.errors import UserError
from moda.flow.guidance import guide
from moda.flow.solvers import euler, heun, midpoint, published_grid, uniform_grid

MEAN, STD = 1.5, 0.4


def gaussian_velocity(x, sigma):
    variance = sigma**2 + (1 - sigma) ** 2 * STD**2
    covariance = sigma - (1 - sigma) * STD**2
    return -MEAN + covariance / variance * (x - (1 - sigma) * MEAN)


def noise(count: int = 4000) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def error_of(solver, steps: int) -> float:
    """Of dx/dsigma = sigma x^2, which is nonlinear in x: 1/x(0) = 1/x(1) + 1/2."""
    x = torch.tensor(1.0, dtype=torch.float64)
    return abs(solver(lambda x, sigma: sigma * x**2, x, uniform_grid(steps).double()).item() - 1 / (1 + 0.5))


def gaussian_error(solver, grid: torch.Tensor) -> float:
    z = noise(200)
    return (solver(gaussian_velocity, z, grid.double()) - (MEAN + STD * z)).abs().max().item()


@pytest.mark.parametrize("solver", [euler, midpoint, heun])
def test_noise_is_carried_to_the_data_distribution(solver):
    z = noise()
    x = solver(gaussian_velocity, z, uniform_grid(200).double())
    assert x.mean().item() == pytest.approx(MEAN + STD * z.mean().item(), abs=5e-3)
    assert x.std().item() == pytest.approx(STD * z.std().item(), rel=1e-2)


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (midpoint, 2), (heun, 2)])
def test_order_of_convergence(solver, order):
    measured = math.log2(error_of(solver, 160) / error_of(solver, 320))
    assert measured == pytest.approx(order, abs=0.15)


def test_second_order_wins_at_equal_cost():
    first = gaussian_error(euler, uniform_grid(10))
    assert gaussian_error(midpoint, uniform_grid(5)) < first
    assert gaussian_error(heun, uniform_grid(5)) < first


def test_a_straight_flow_needs_one_step():
    x0, z = torch.full((3,), 2.0), torch.tensor([0.1, -1.0, 3.0])
    for solver in (euler, midpoint, heun):
        torch.testing.assert_close(solver(lambda x, sigma: z - x0, z, uniform_grid(1)), x0)


def test_uniform_grid_steps_equally_to_zero():
    torch.testing.assert_close(uniform_grid(4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    shifted = uniform_grid(4, shift=2.0)
    assert shifted[0] == 1 and shifted[-1] == 0 and shifted[2] == pytest.approx(2 / 3)


def test_published_grid_wastes_its_last_step():
    grid = published_grid(10)
    torch.testing.assert_close(grid[:10] * 1000, torch.linspace(1000, 1, 10))
    assert len(grid) == 11 and grid[-1] == 0
    assert gaussian_error(euler, uniform_grid(10)) < gaussian_error(euler, grid)


@pytest.mark.parametrize(("grid", "steps"), [(uniform_grid, 0), (published_grid, 1)])
def test_too_few_steps_are_refused(grid, steps):
    with pytest.raises(UserError, match="step"):
        grid(steps)


def answer(x, sigma):
    """A field that is 3 with conditions (first half of a doubled batch) and 1 without."""
    answer.sizes.append(len(x))
    return torch.cat([torch.full((2, 1), 3.0), torch.full((len(x) - 2, 1), 1.0)])


@pytest.mark.parametrize(("scale", "value"), [(0.0, 1.0), (1.2, 3.4), (2.0, 5.0)])
def test_guidance_extrapolates_from_the_unconditional(scale, value):
    answer.sizes = []
    torch.testing.assert_close(guide(answer, scale)(torch.zeros(2, 1), torch.tensor(0.5)), torch.full((2, 1), value))
    assert answer.sizes == [4]


def test_guidance_of_one_costs_one_pass():
    answer.sizes = []
    torch.testing.assert_close(guide(answer, 1.0)(torch.zeros(2, 1), torch.tensor(0.5)), torch.full((2, 1), 3.0))
    assert answer.sizes == [2]


def test_negative_guidance_is_refused():
    with pytest.raises(UserError, match="negative"):
        guide(answer, -0.5)
