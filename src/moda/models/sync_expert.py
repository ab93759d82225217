"""Do these lips move to this sound? Two encoders of windows into one space, on motion instead of pictures."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from moda.errors import UserError


class WindowEncoder(nn.Module):
    """Convolutions over time without padding: (B, T, C) to one vector of unit length for each window, (B, T - n + 1, E)."""

    def __init__(self, channels: int, width: int, embedding_dim: int, dilations: Sequence[int]):
        super().__init__()
        self.inward = nn.Linear(channels, width)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=dilation) for dilation in dilations)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in dilations)
        self.outward = nn.Linear(width, embedding_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inward(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.silu(norm(layer(x.transpose(1, 2)).transpose(1, 2)))
        return F.normalize(self.outward(x).float(), dim=-1)


class SyncExpert(nn.Module):
    """Embeds windows of lip motion and of speech features; the cosine of the two is their agreement.

    Takes motion in the layout's units and normalises it itself, so that it judges motion of any training.
    lip_dims: dimensions of the motion that it looks at; lip_mean, lip_std: theirs. dilations: of
    convolutions three frames wide; a window is ``1 + 2 sum(dilations)`` frames.
    ``matched`` and ``mismatched`` are the mean agreements of lips with their own and with other sound, which
    training measures in the end: the scale on which an agreement means something.
    """

    lip_dims: torch.Tensor
    lip_mean: torch.Tensor
    lip_std: torch.Tensor
    matched: torch.Tensor
    mismatched: torch.Tensor

    def __init__(
        self,
        audio_layers: int,
        audio_dim: int,
        lip_dims: Sequence[int],
        lip_mean: Sequence[float],
        lip_std: Sequence[float],
        *,
        width: int = 128,
        embedding_dim: int = 64,
        dilations: Sequence[int] = (1, 2, 3),
    ):
        super().__init__()
        if not dilations or min(width, embedding_dim, *dilations) < 1:
            raise UserError("model.network of a sync expert: every size must be at least 1")
        self.audio_shape = (audio_layers, audio_dim)
        self.window = 1 + 2 * sum(dilations)
        self.lips = WindowEncoder(len(lip_dims), width, embedding_dim, dilations)
        self.audio_norm = nn.LayerNorm(audio_layers * audio_dim)
        self.audio = WindowEncoder(audio_layers * audio_dim, width, embedding_dim, dilations)
        self.register_buffer("lip_dims", torch.tensor(lip_dims), persistent=False)
        self.register_buffer("lip_mean", torch.tensor(lip_mean, dtype=torch.float32), persistent=False)
        self.register_buffer("lip_std", torch.tensor(lip_std, dtype=torch.float32), persistent=False)
        self.register_buffer("matched", torch.ones(()))
        self.register_buffer("mismatched", torch.zeros(()))

    def embed_motion(self, motion: torch.Tensor) -> torch.Tensor:
        """(B, T, D) in the layout's units to (B, T - window + 1, E)."""
        return self.lips((motion[..., self.lip_dims] - self.lip_mean) / self.lip_std)

    def embed_audio(self, audio: torch.Tensor) -> torch.Tensor:
        """(B, T, L, C) speech features to (B, T - window + 1, E)."""
        return self.audio(self.audio_norm(audio.flatten(2)))

    def confidence(self, agreement: torch.Tensor) -> torch.Tensor:
        """Agreements on the scale of the expert's own: 0 as of other sound, 1 as of the lips' own, linear between."""
        return ((agreement - self.mismatched) / (self.matched - self.mismatched).clamp(min=1e-3)).clamp(0, 1)


def windows_valid(valid: torch.Tensor, window: int) -> torch.Tensor:
    """(B, T) frames to (B, T - window + 1) windows all of whose frames are valid."""
    return valid.unfold(1, window, 1).all(-1)


def sync_loss(
    expert: SyncExpert,
    made: torch.Tensor,
    truth: torch.Tensor,
    audio: torch.Tensor,
    valid: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Disagreement, 1 - cosine, of the lips of ``made`` with the sound; a scalar in 0..2.

    made, truth: (B, T, D) in the layout's units. audio: (B, T, L, C). valid: (B, T). weight: (B,) of each sample.
    A window counts as far as the expert is sure of the truth there (``confidence``), which in silence it is
    not: no threshold decides. The mean over the samples of each one's mean over its valid windows, so that the loss of
    equal parts of a batch is that of the batch.
    """
    with torch.no_grad():
        sound = expert.embed_audio(audio)
        sure = expert.confidence((expert.embed_motion(truth) * sound).sum(-1)) * windows_valid(valid, expert.window)
    disagreement = 1 - (expert.embed_motion(made) * sound).sum(-1)  # (B, windows)
    count = windows_valid(valid, expert.window).sum(1).clamp(min=1)
    return ((sure * disagreement).sum(1) / count * weight).mean()
