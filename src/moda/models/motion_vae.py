"""Temporal motion VAE: causal convolutions, one latent token for every ``stride`` frames.

Causal throughout: a token depends on its own frames and earlier ones, a decoded frame on its own
token and earlier ones. Both directions can therefore run in pieces, given enough context.
"""

import torch
from torch import nn

from moda.errors import UserError


class CausalConv(nn.Module):
    """Convolution over time of (B, T, C) that sees the past only; before the start stands the first frame."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dilation: int = 1):
        super().__init__()
        self.context = (kernel - 1) * dilation
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = torch.cat([x[:, :1].expand(-1, self.context, -1), x], 1)
        return self.conv(padded.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + two causal convolutions, the first dilated. Normalisation is per frame, so it stays causal.

    It starts as the identity: the autoencoder begins as a linear one and reaches a given error
    in a third of the steps.
    """

    def __init__(self, width: int, kernel: int, dilation: int):
        super().__init__()
        first, second = CausalConv(width, width, kernel, dilation), CausalConv(width, width, kernel)
        nn.init.zeros_(second.conv.weight)
        nn.init.zeros_(second.conv.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(nn.RMSNorm(width), nn.SiLU(), first, nn.RMSNorm(width), nn.SiLU(), second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def _residual_stack(width: int, kernel: int, depth: int) -> nn.Sequential:
    """Dilations 1, 2, 4, ...: the receptive field doubles with each block."""
    return nn.Sequential(*(ResidualBlock(width, kernel, 2**index) for index in range(depth)))


def _context(stack: nn.Module) -> int:
    """Earlier frames that the output of ``stack`` depends on."""
    return sum(module.context for module in stack.modules() if isinstance(module, CausalConv))


class MotionVAE(nn.Module):
    """Variational autoencoder of normalised motion (B, T, D) with Gaussian latents (B, T / stride, Z).

    width: channels of the hidden layers; depth: residual blocks at each of the two rates.
    ``latent_mean`` and ``latent_std`` (Z,) are buffers that training fills once the VAE has
    converged; the transformer works on ``normalize``d latents.
    """

    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(
        self, motion_dim: int, latent_dim: int = 32, width: int = 128, stride: int = 4, depth: int = 1, kernel: int = 3
    ):
        super().__init__()
        if min(motion_dim, latent_dim, width, stride, depth, kernel) < 1:
            raise UserError("model.network of a motion VAE: every size must be at least 1")
        self.motion_dim, self.latent_dim, self.stride = motion_dim, latent_dim, stride
        self.encoder_frames = nn.Sequential(
            CausalConv(motion_dim, width, kernel), _residual_stack(width, kernel, depth)
        )
        self.down = nn.Linear(stride * width, width)
        self.encoder_tokens = _residual_stack(width, kernel, depth)
        self.to_latent = nn.Linear(width, 2 * latent_dim)  # no norm: amplitude is information
        self.from_latent = nn.Sequential(CausalConv(latent_dim, width, kernel), _residual_stack(width, kernel, depth))
        self.up = nn.Linear(width, stride * width)
        self.decoder_frames = _residual_stack(width, kernel, depth)
        self.to_motion = nn.Linear(width, motion_dim)
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))

    @property
    def encoder_context(self) -> int:
        """Earlier frames that a token depends on beside its own, rounded up to whole tokens."""
        tokens = _context(self.encoder_tokens) - (-_context(self.encoder_frames) // self.stride)
        return tokens * self.stride

    @property
    def decoder_context(self) -> int:
        """Earlier tokens that a decoded frame depends on beside its own."""
        return _context(self.from_latent) - (-_context(self.decoder_frames) // self.stride)

    def encode(self, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised motion (B, T, D) to mean and log variance, each (B, T / stride, Z).

        Raises UserError when T is not a multiple of the stride.
        """
        if motion.shape[1] % self.stride:
            raise UserError(f"{motion.shape[1]} frames are not a multiple of the motion VAE's stride {self.stride}")
        x = self.encoder_frames(motion)  # (B, T, width)
        x = self.down(x.unflatten(1, (-1, self.stride)).flatten(2))  # (B, T / stride, width)
        mean, logvar = self.to_latent(self.encoder_tokens(x)).chunk(2, -1)
        return mean, logvar.clamp(-30, 20)  # exp of it stays finite in float32

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Latents (B, N, Z) to normalised motion (B, N stride, D)."""
        x = self.up(self.from_latent(latent)).unflatten(2, (self.stride, -1)).flatten(1, 2)  # (B, N stride, width)
        return self.to_motion(self.decoder_frames(x))

    def forward(
        self, motion: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction through a sampled latent, and the posterior's mean and log variance."""
        mean, logvar = self.encode(motion)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return self.decode(mean + torch.exp(logvar / 2) * noise), mean, logvar

    def normalize(self, latent: torch.Tensor) -> torch.Tensor:
        """Latents to zero mean and unit variance over the training set."""
        return (latent - self.latent_mean) / self.latent_std

    def denormalize(self, latent: torch.Tensor) -> torch.Tensor:
        """Inverse of ``normalize``."""
        return latent * self.latent_std + self.latent_mean


def kl_divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL of N(mean, exp(logvar)) from N(0, 1) in nats, elementwise (Kingma and Welling, appendix B)."""
    return (mean**2 + logvar.exp() - 1 - logvar) / 2
