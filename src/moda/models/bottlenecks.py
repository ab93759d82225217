"""What a motion VAE lets through: a Gaussian held near the unit normal, or finite scalar quantisation.

Both are modules without weights that ``MotionVAE`` takes. ``split`` turns what the encoder says into the latent
(B, N, Z) and what the other methods need beside it.
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import nn

from moda.errors import UserError


class Bottleneck(Protocol):
    """prior: whether ``penalty`` is anything to minimise."""

    prior: bool

    def encoded_dim(self, latent_dim: int) -> int:
        """Channels that the encoder must make for a latent of ``latent_dim``; UserError where they do not fit."""
        ...

    def split(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, encoded_dim) to the latent that stands for the motion, and what goes with it, (B, N, Z) each."""
        ...

    def sample(self, latent: torch.Tensor, beside: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the decoder is trained on; ``noise`` (B, N, Z) is standard normal."""
        ...

    def snap(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent nearest to any (B, N, Z) that the decoder can have seen."""
        ...

    def penalty(self, latent: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """(B, N, Z) in nats."""
        ...


class GaussianBottleneck(nn.Module):
    """Latents are means of normal distributions, whose divergence from the unit normal is penalised.

    Kingma and Welling, "Auto-encoding variational Bayes" (2013). Beside the mean goes the log variance.
    """

    prior = True

    def encoded_dim(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def split(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, logvar = encoded.chunk(2, -1)
        return mean, logvar.clamp(-30, 20)  # exp of it stays finite in float32

    def sample(self, latent: torch.Tensor, beside: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return latent + torch.exp(beside / 2) * noise

    def snap(self, latent: torch.Tensor) -> torch.Tensor:
        return latent

    def penalty(self, latent: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        return kl_divergence(latent, beside)


def kl_divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL of N(mean, exp(logvar)) from N(0, 1) in nats, elementwise (Kingma and Welling, appendix B)."""
    return (mean**2 + logvar.exp() - 1 - logvar) / 2


class FiniteScalarQuantizer(nn.Module):
    """Finite scalar quantisation (Mentzer et al., 2023): each channel is rounded to one of a few values in [-1, 1].

    levels: values of each channel; repeated when the latent has more channels, so that each run of
    ``len(levels)`` channels is one code of ``prod(levels)``. Gradients pass the rounding as if it were not
    there. Nothing is penalised, and no code can die. Beside the latent go the values before rounding, in levels.
    """

    prior = False
    levels: torch.Tensor

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5)):
        super().__init__()
        if not levels or min(levels) < 2:
            raise UserError(f"model.network.bottleneck.levels={list(levels)}: every channel needs at least 2 levels")
        self.codebook_size, self.most_levels = prod(levels), max(levels)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)

    def encoded_dim(self, latent_dim: int) -> int:
        if latent_dim % len(self.levels):
            raise UserError(
                f"model.network.latent_dim={latent_dim} must be a multiple of the {len(self.levels)} channels that "
                "model.network.bottleneck.levels names"
            )
        return latent_dim

    def split(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        precise = encoded.float()  # 1.001 is 1 in bfloat16
        levels = self._of_channels(precise)
        # a little beyond the outer levels, so that tanh reaches them; an even number of them lies around -1/2
        half, offset = (levels - 1) * 1.001 / 2, (levels + 1) % 2 / 2
        bounded = torch.tanh(precise + torch.atanh(offset / half)) * half - offset
        return self.snap(bounded / _radius(levels)).to(encoded.dtype), bounded.to(encoded.dtype)

    def sample(self, latent: torch.Tensor, beside: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return latent

    def snap(self, latent: torch.Tensor) -> torch.Tensor:
        levels = self._of_channels(latent)
        radius = _radius(levels)
        rounded = (latent * radius).round().clamp(min=-radius, max=levels - 1 - radius) / radius
        return latent + (rounded - latent).detach()

    def penalty(self, latent: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(latent)

    def digits(self, latent: torch.Tensor) -> torch.Tensor:
        """Number of the level of each channel of snapped latents, (..., Z) long from 0."""
        radius = _radius(self._of_channels(latent))
        return (latent * radius + radius).round().long()

    def codes(self, latent: torch.Tensor) -> torch.Tensor:
        """Codes of snapped latents (..., Z), (..., Z / len(levels)) long from 0 to ``codebook_size`` - 1."""
        places = torch.cat([self.levels.new_ones(1), self.levels.cumprod(0)[:-1]]).long()
        return (self.digits(latent).unflatten(-1, (-1, len(places))) * places).sum(-1)

    def level_use(self, latent: torch.Tensor) -> torch.Tensor:
        """Mean over the channels of the perplexity of their levels, over the number of levels: 1 where all are equally used."""
        levels = self._of_channels(latent)
        numbers = torch.arange(self.most_levels, device=latent.device)
        shares = (self.digits(latent)[..., None] == numbers).float().flatten(0, -3).mean(0)  # (Z, most levels)
        return (torch.special.entr(shares).sum(-1).exp() / levels).mean()

    def _of_channels(self, values: torch.Tensor) -> torch.Tensor:
        """Levels of each channel of ``values`` (..., Z)."""
        return self.levels.to(values.dtype).repeat(values.shape[-1] // len(self.levels))


def _radius(levels: torch.Tensor) -> torch.Tensor:
    """Level numbers run from -radius to levels - 1 - radius."""
    return torch.div(levels, 2, rounding_mode="floor")


def codebook_use(codes: torch.Tensor, size: int) -> tuple[float, float]:
    """(share of the codebook's entries that occur, perplexity of their frequencies) of ``codes`` (n,)."""
    counts = torch.bincount(codes.flatten().cpu(), minlength=size).double()
    return float((counts > 0).double().mean()), float(torch.special.entr(counts / counts.sum()).sum().exp())
