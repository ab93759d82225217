"""Temporal motion VAE: convolutions over time, one latent token for every ``stride`` frames.

Causal by choice: then a token depends on its own frames and earlier ones, a decoded frame on its own
token and earlier ones, and speech can be animated while it is heard. Centred convolutions see as much of
the future as of the past. Either way both directions can run in pieces, given enough context.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from moda.errors import UserError
from moda.models.bottlenecks import Bottleneck, GaussianBottleneck
from moda.motion.statistics import MotionStatistics


@dataclass(frozen=True)
class ConvSettings:
    """What all convolutions of a VAE have in common."""

    width: int
    kernel: int
    causal: bool


class TemporalConv(nn.Module):
    """Convolution over time of (B, T, C) to (B, T, width).

    before, after: frames that it sees beside its own. Beyond the ends stand the first and the last frame.
    """

    def __init__(self, channels_in: int, settings: ConvSettings, dilation: int = 1):
        super().__init__()
        reach = (settings.kernel - 1) * dilation
        self.after = 0 if settings.causal else reach // 2
        self.before = reach - self.after
        self.conv = nn.Conv1d(channels_in, settings.width, settings.kernel, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = torch.cat([x[:, :1].expand(-1, self.before, -1), x, x[:, -1:].expand(-1, self.after, -1)], 1)
        return self.conv(padded.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + two convolutions over time, the first dilated. Normalisation is per frame: it does not look ahead.

    It starts as the identity: the autoencoder begins as a linear one and reaches a given error
    in a third of the steps.
    """

    def __init__(self, settings: ConvSettings, dilation: int):
        super().__init__()
        width = settings.width
        first, second = TemporalConv(width, settings, dilation), TemporalConv(width, settings)
        nn.init.zeros_(second.conv.weight)
        nn.init.zeros_(second.conv.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(nn.RMSNorm(width), nn.SiLU(), first, nn.RMSNorm(width), nn.SiLU(), second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def _residual_stack(settings: ConvSettings, depth: int) -> nn.Sequential:
    """Dilations 1, 2, 4, ...: the receptive field doubles with each block."""
    return nn.Sequential(*(ResidualBlock(settings, 2**index) for index in range(depth)))


def _reach(side: str, stack: nn.Module) -> int:
    """Frames ``before`` or ``after`` its own that the output of ``stack`` depends on."""
    return sum(getattr(module, side) for module in stack.modules() if isinstance(module, TemporalConv))


class MotionVAE(nn.Module):
    """Autoencoder of normalised motion (B, T, D) with latents (B, T / stride, Z).

    width: channels of the hidden layers; depth: residual blocks at each of the two rates. causal: whether
    nothing depends on later frames. bottleneck: how latents are kept small, by default Gaussian.
    ``latent_mean`` and ``latent_std`` (Z,) are buffers that training fills once the VAE has
    converged; the transformer works on ``normalize``d latents.
    """

    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(
        self,
        motion_dim: int,
        latent_dim: int = 32,
        width: int = 128,
        stride: int = 4,
        depth: int = 1,
        kernel: int = 3,
        causal: bool = True,
        bottleneck: Bottleneck | None = None,
    ):
        super().__init__()
        if min(motion_dim, latent_dim, width, stride, depth, kernel) < 1:
            raise UserError("model.network of a motion VAE: every size must be at least 1")
        if not causal and kernel % 2 == 0:
            raise UserError(f"model.network.kernel={kernel}: a centred convolution needs an odd one (causal=false)")
        self.motion_dim, self.latent_dim, self.stride, self.causal = motion_dim, latent_dim, stride, causal
        self.bottleneck = bottleneck or GaussianBottleneck()
        conv = ConvSettings(width, kernel, causal)
        self.encoder_frames = nn.Sequential(TemporalConv(motion_dim, conv), _residual_stack(conv, depth))
        self.down = nn.Linear(stride * width, width)
        self.encoder_tokens = _residual_stack(conv, depth)
        # no norm before it: amplitude is information
        self.to_latent = nn.Linear(width, self.bottleneck.encoded_dim(latent_dim))
        self.from_latent = nn.Sequential(TemporalConv(latent_dim, conv), _residual_stack(conv, depth))
        self.up = nn.Linear(width, stride * width)
        self.decoder_frames = _residual_stack(conv, depth)
        self.to_motion = nn.Linear(width, motion_dim)
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))

    @property
    def encoder_context(self) -> int:
        """Earlier frames that a token depends on beside its own, rounded up to whole tokens."""
        return self._tokens("before", self.encoder_tokens, self.encoder_frames) * self.stride

    @property
    def encoder_lookahead(self) -> int:
        """Later frames that a token depends on beside its own, rounded up to whole tokens; 0 where causal."""
        return self._tokens("after", self.encoder_tokens, self.encoder_frames) * self.stride

    @property
    def decoder_context(self) -> int:
        """Earlier tokens that a decoded frame depends on beside its own."""
        return self._tokens("before", self.from_latent, self.decoder_frames)

    @property
    def decoder_lookahead(self) -> int:
        """Later tokens that a decoded frame depends on beside its own; 0 where causal."""
        return self._tokens("after", self.from_latent, self.decoder_frames)

    def _tokens(self, side: str, at_tokens: nn.Module, at_frames: nn.Module) -> int:
        return _reach(side, at_tokens) - (-_reach(side, at_frames) // self.stride)

    def encode(self, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised motion (B, T, D) to its latent and what the bottleneck keeps beside it, (B, T / stride, Z) each.

        Raises UserError when T is not a multiple of the stride.
        """
        if motion.shape[1] % self.stride:
            raise UserError(f"{motion.shape[1]} frames are not a multiple of the motion VAE's stride {self.stride}")
        x = self.encoder_frames(motion)  # (B, T, width)
        x = self.down(x.unflatten(1, (-1, self.stride)).flatten(2))  # (B, T / stride, width)
        return self.bottleneck.split(self.to_latent(self.encoder_tokens(x)))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Latents (B, N, Z), any (the nearest that the decoder knows count), to normalised motion (B, N stride, D)."""
        latent = self.bottleneck.snap(latent)
        x = self.up(self.from_latent(latent)).unflatten(2, (self.stride, -1)).flatten(1, 2)  # (B, N stride, width)
        return self.to_motion(self.decoder_frames(x))

    def forward(
        self, motion: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction as the decoder is trained, with noise in the latent where that is Gaussian; and ``encode``."""
        latent, beside = self.encode(motion)
        noise = torch.randn(latent.shape, generator=generator, device=latent.device, dtype=latent.dtype)
        return self.decode(self.bottleneck.sample(latent, beside, noise)), latent, beside

    @torch.no_grad()
    def reconstruct(self, motion: np.ndarray, statistics: MotionStatistics) -> np.ndarray:
        """What is left of a clip (T, D), in the layout's units, after encoding and decoding: (T, D) float32."""
        normalized = torch.from_numpy(statistics.normalize(motion).astype(np.float32))
        filled = torch.cat([normalized, normalized[-1:].expand(-len(normalized) % self.stride, -1)])
        decoded = self.decode(self.encode(filled[None].to(self.latent_mean.device))[0])[0, : len(motion)]
        return statistics.denormalize(decoded).cpu().numpy()

    def normalize(self, latent: torch.Tensor) -> torch.Tensor:
        """Latents to zero mean and unit variance over the training set."""
        return (latent - self.latent_mean) / self.latent_std

    def denormalize(self, latent: torch.Tensor) -> torch.Tensor:
        """Inverse of ``normalize``."""
        return latent * self.latent_std + self.latent_mean
