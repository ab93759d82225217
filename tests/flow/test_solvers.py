"""Against the one case that is solved on paper: Gaussian data N(m, s^2).

x_sigma has mean (1 - sigma) m and variance V = sigma^2 + (1 - sigma)^2 s^2; the velocity that flow
matching learns is E[noise - data | x], linear in x, and its flow carries noise z to m + s z.
"""

import math

import pytest
import torch

from moda.errors import UserError
from moda.flow.path import interpolate, shift_sigma
from moda.flow.solvers import SOLVERS, adams_bashforth, euler, heun, midpoint, published_grid, solver_of, uniform_grid

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "adams_bashforth_2": 2, "adams_bashforth_3": 3}
MEAN, STD = 1.5, 0.4


def gaussian_velocity(x, sigma):
    variance = sigma**2 + (1 - sigma) ** 2 * STD**2
    covariance = sigma - (1 - sigma) * STD**2
    return -MEAN + covariance / variance * (x - (1 - sigma) * MEAN)


def noise(count: int = 4000) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def error_of(solver, steps: int, shift: float = 1.0) -> float:
    """Of dx/dsigma = sigma x^2, which is nonlinear in x: 1/x(0) = 1/x(1) + 1/2."""
    x = torch.tensor(1.0, dtype=torch.float64)
    grid = shift_sigma(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)
    return abs(solver(lambda x, sigma: sigma * x**2, x, grid).item() - 1 / (1 + 0.5))


def gaussian_error(solver, grid: torch.Tensor) -> float:
    z = noise(200)
    return (solver(gaussian_velocity, z, grid.double()) - (MEAN + STD * z)).abs().max().item()


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_noise_is_carried_to_the_data_distribution(solver):
    z = noise()
    x = solver(gaussian_velocity, z, uniform_grid(200).double())
    assert x.mean().item() == pytest.approx(MEAN + STD * z.mean().item(), abs=5e-3)
    assert x.std().item() == pytest.approx(STD * z.std().item(), rel=1e-2)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 0.8])
def test_on_the_way_the_flow_has_the_marginals_of_the_path(sigma):
    z = noise()
    on_the_way = adams_bashforth(gaussian_velocity, z, torch.linspace(1, sigma, 101, dtype=torch.float64))
    data = MEAN + STD * torch.randn(4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    path, _ = interpolate(data, noise(), torch.full((4000,), sigma, dtype=torch.float64))
    assert on_the_way.mean().item() == pytest.approx(path.mean().item(), abs=0.05)
    assert on_the_way.std().item() == pytest.approx(path.std().item(), rel=0.05)
    exact = (1 - sigma) * MEAN + math.sqrt(sigma**2 + (1 - sigma) ** 2 * STD**2) * z
    torch.testing.assert_close(on_the_way, exact, rtol=0, atol=1e-3)


def test_the_velocity_is_what_flow_matching_learns():
    """Regression of noise - data on x, at one sigma, gives the closed form's line."""
    sigma, data = 0.4, MEAN + STD * noise(400_000)
    target_noise = torch.randn(400_000, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    x, velocity = interpolate(data, target_noise, torch.full((400_000,), sigma, dtype=torch.float64))
    design = torch.stack([torch.ones_like(x), x], 1)
    offset, slope = torch.linalg.lstsq(design, velocity[:, None]).solution.flatten()
    at = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(offset + slope * at, gaussian_velocity(at, torch.tensor(sigma)), rtol=0, atol=0.02)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_order_of_convergence(name, shift):
    solver = solver_of(name)
    measured = math.log2(error_of(solver, 160, shift) / error_of(solver, 320, shift))
    assert measured == pytest.approx(ORDERS[name], abs=0.15)


@pytest.mark.parametrize(("name", "extra"), [("euler", 0), ("adams_bashforth_2", 0), ("adams_bashforth_3", 1)])
def test_multistep_solvers_evaluate_once_a_step(name, extra):
    calls = []

    def velocity(x, sigma):
        calls.append(float(sigma))
        return gaussian_velocity(x, sigma)

    solver_of(name)(velocity, noise(3), uniform_grid(6).double())
    assert len(calls) == 6 + extra


@pytest.mark.parametrize("order", [2, 3, 4])
def test_polynomial_slopes_of_their_degree_are_integrated_exactly(order):
    """Of time alone, from the second step on; the first is Heun's or Euler's."""
    grid = torch.tensor([1.0, 0.8, 0.45, 0.2, 0.0], dtype=torch.float64)
    start = 2  # order 2: linear in time, where Heun's step would be exact as well
    x = adams_bashforth(lambda x, t: 2 * t + 1, torch.zeros((), dtype=torch.float64), grid, order=order)
    if order == start:  # Euler's first step is off by its square
        assert x.item() == pytest.approx(-2.0 + -(0.2**2))
    else:
        assert x.item() == pytest.approx(-2.0)


def test_second_order_wins_at_equal_cost():
    first = gaussian_error(euler, uniform_grid(10))
    assert gaussian_error(midpoint, uniform_grid(5)) < first
    assert gaussian_error(heun, uniform_grid(5)) < first
    assert gaussian_error(solver_of("adams_bashforth_2"), uniform_grid(10)) < first / 2


def test_a_straight_flow_needs_one_step():
    x0, z = torch.full((3,), 2.0), torch.tensor([0.1, -1.0, 3.0])
    for solver in SOLVERS.values():
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


def test_unknown_solvers_and_orders_are_refused():
    with pytest.raises(UserError, match="unknown solver 'rk4'; known: euler, midpoint, heun, adams_bashforth_2"):
        solver_of("rk4")
    with pytest.raises(UserError, match="order=1: at least 2"):
        adams_bashforth(gaussian_velocity, noise(2), uniform_grid(3), order=1)
