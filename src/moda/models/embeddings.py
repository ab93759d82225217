"""From conditions and noisy motion to tokens of the transformer's width."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from moda.models.attention import NORM_EPS


def timestep_sinusoid(timestep: torch.Tensor, dim: int = 256, max_period: float = 10_000.0) -> torch.Tensor:
    """(B,) timesteps in 0..1000 to (B, dim) float32: cosines, then sines, at geometric frequencies.

    Vaswani et al., "Attention is all you need", section 3.5.
    """
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timestep.device) / half
    angles = timestep.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], -1)


class TimestepEmbedder(nn.Module):
    """Sinusoid in float32, then a two-layer perceptron in the network's own precision."""

    def __init__(self, width: int, sinusoid_dim: int = 256):
        super().__init__()
        self.sinusoid_dim = sinusoid_dim
        self.mlp = two_layer_mlp(sinusoid_dim, width)

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        """(B,) in 0..1000 to (B, width)."""
        dtype = next(self.parameters()).dtype
        return self.mlp(timestep_sinusoid(timestep, self.sinusoid_dim).to(dtype))


def two_layer_mlp(dim: int, width: int) -> nn.Sequential:
    """Embedder of motion, identity and time."""
    return nn.Sequential(nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, width))


class AudioEmbedder(nn.Module):
    """Layers of a speech encoder (B, T, L, C) to one token a frame (B, T, width).

    mix: of a learned weighted mean of the layers (Yang et al., SUPERB, 2021), instead of all of them side by
    side. The weights are a softmax, equal at first.
    """

    def __init__(self, layers: int, dim: int, width: int, mix: bool = False):
        super().__init__()
        self.layer_scores = nn.Parameter(torch.zeros(layers)) if mix else None
        self.mlp = nn.Sequential(
            nn.Linear(dim if mix else layers * dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        if self.layer_scores is None:
            features = audio.flatten(2)
        else:
            weights = self.layer_scores.float().softmax(0).to(audio.dtype)
            features = (weights[:, None] * audio).sum(2)
        return self.norm(self.mlp(features))


class NullToken(nn.Module):
    """A learned token that stands in for a condition that is absent."""

    def __init__(self, width: int):
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, tokens: torch.Tensor, drop: torch.Tensor | None) -> torch.Tensor:
        """Replace the samples of ``tokens`` (B, n, width) that ``drop`` (B,) bool marks; None drops none.

        The null takes part in the graph even then: distributed training waits for its gradient.
        """
        if drop is None:
            drop = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        return torch.where(drop[:, None, None], self.token.to(tokens.dtype), tokens)


class ControlEmbedder(nn.Module):
    """Signals that a user may give or leave out, as one vector for every motion token.

    channels: name of a control -> its channels. frames: that a motion token stands for; their values are
    embedded side by side, so that nothing of a quick movement is lost. A control that is not given is
    its learned null. The embedding is linear, as the motion's dependence on it is, and starts as strong as
    the signals themselves (``reset``).
    """

    def __init__(self, channels: Mapping[str, int], frames: int, width: int):
        super().__init__()
        self.frames, self.sizes = frames, list(channels.values())
        self.embedders = nn.ModuleDict({name: nn.Linear(frames * k, width) for name, k in channels.items()})
        self.nulls = nn.ModuleDict({name: NullToken(width) for name in channels})
        self.reset()

    def reset(self) -> None:
        for embedder in self.embedders.values():
            assert isinstance(embedder, nn.Linear)
            nn.init.normal_(embedder.weight, std=embedder.in_features**-0.5)
            nn.init.zeros_(embedder.bias)

    def forward(self, signals: torch.Tensor, drop: torch.Tensor | None) -> torch.Tensor:
        """signals: (B, T, K), the controls side by side; drop: (B, G) bool, one column a control. (B, N, width)."""
        parts = signals.unflatten(1, (-1, self.frames)).split(self.sizes, -1)  # each (B, N, frames, k)
        total: torch.Tensor | float = 0.0
        for index, (part, name) in enumerate(zip(parts, self.embedders, strict=True)):
            dropped = None if drop is None else drop[:, index]
            total = total + self.nulls[name](self.embedders[name](part.flatten(2)), dropped)
        assert isinstance(total, torch.Tensor)
        return total


def embed_emotion(
    table: nn.Embedding, emotion: torch.Tensor, intensity: torch.Tensor | None, neutral: int
) -> torch.Tensor:
    """(B,) classes to (B, width): from the ``neutral`` class at intensity 0 to the class itself at 1 (None).

    The last row of ``table`` is the null, which has no intensity.
    """
    token = table(emotion)
    if intensity is None:
        return token
    null = table.num_embeddings - 1
    origin = table(torch.where(emotion == null, emotion, neutral))
    return torch.lerp(origin, token, intensity[:, None].to(token.dtype))
