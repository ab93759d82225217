"""Straight path between data and noise (rectified flow: Liu et al. 2022; Lipman et al., flow matching, 2022).

sigma 0 is data and sigma 1 is noise; the network's timestep is 1000 sigma.
"""

import torch

TIMESTEPS = 1000.0


def interpolate(data: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Point of the path and its velocity: x = sigma noise + (1 - sigma) data, v = noise - data.

    data, noise: (B, ...). sigma: (B,) in 0..1. Returns two tensors (B, ...).
    """
    sigma = _like(sigma, data)
    return sigma * noise + (1 - sigma) * data, noise - data


def data_estimate(x: torch.Tensor, velocity: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """One-step estimate of the data from a point (B, ...) of the path and its velocity: x - sigma v."""
    return x - _like(sigma, x) * velocity


def timestep_of(sigma: torch.Tensor) -> torch.Tensor:
    """What the network is told: 1000 sigma, in float32."""
    return TIMESTEPS * sigma.float()


def shift_sigma(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """Move sigmas towards noise (shift > 1) or data (shift < 1), keeping 0 and 1: s sigma / (1 + (s - 1) sigma).

    Esser et al., Stable Diffusion 3, equation 23.
    """
    return shift * sigma / (1 + (shift - 1) * sigma)


def cosine_sigma(time: torch.Tensor, offset: float = 0.008) -> torch.Tensor:
    """Sigma of the straight path at which noise and data stand as in the cosine schedule of diffusion at ``time`` 0..1.

    That schedule mixes cos(a) data + sin(a) noise with a = (t + s) / (1 + s) pi / 2 (Nichol and Dhariwal, 2021,
    equation 17); divided by cos(a) + sin(a) it is a point of the straight path.
    """
    angle = (time + offset) / (1 + offset) * (torch.pi / 2)
    return torch.where(time >= 1, 1.0, angle.sin() / (angle.sin() + angle.cos()))


def _like(sigma: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return sigma.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
