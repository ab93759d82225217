"""Joint attention over several token sequences: per-head RMS query-key normalisation and 1-D RoPE."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

NORM_EPS = 1e-6

# Of ``QKNorm.look_nearby``: how much of a query is common to all, and how sharply attention then falls
# off with time. Chosen on the demo corpus.
COMMON_QUERY = 2.5
LOCAL_GAIN = 1.4


def rope_rotation(positions: torch.Tensor, head_dim: int, theta: float) -> torch.Tensor:
    """Rotary angles as unit complex numbers, kept as (cos, sin) pairs in float32.

    positions: (n,) in frames, fractions allowed. Position 0 rotates nothing, which is how tokens
    without a place in time are treated. Returns (2, n, head_dim / 2).
    Su et al., "RoFormer", equation 34, with neighbouring channels forming a pair.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.float()[:, None] * theta**-exponents
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn the channel pairs of ``x`` (..., n, head_dim) by ``rotation`` (2, n, head_dim / 2); keeps the dtype."""
    cos, sin = rotation
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).type_as(x)


class QKNorm(nn.Module):
    """Normalise queries and keys to unit RMS per head, with a learned gain each, then rotate them."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.query = nn.RMSNorm(head_dim, eps=NORM_EPS)
        self.key = nn.RMSNorm(head_dim, eps=NORM_EPS)

    def forward(self, qkv: torch.Tensor, heads: int, rotation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, n, 3 width) to three tensors (B, heads, n, head_dim)."""
        q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return rotate(self.query(q), rotation), rotate(self.key(k), rotation), v

    @torch.no_grad()
    def look_nearby(self, qkv: nn.Linear, heads: int) -> None:
        """Make half of the heads start local in time; the first rows of ``qkv`` are queries, keys, values.

        Their queries and keys get one vector in common. Rotated by two positions, its product with
        itself depends on the distance alone and is greatest at distance 0, whatever the streams. The
        other heads start undirected: conditions that have no place in time must be found too.
        """
        width = qkv.in_features
        bias = qkv.bias[: 2 * width].view(2, heads, width // heads)
        bias[:, : (heads + 1) // 2, ::2] = COMMON_QUERY  # the even channel of every rotary pair
        self.query.weight.fill_(LOCAL_GAIN)
        self.key.weight.fill_(LOCAL_GAIN)


def joint_attention(parts: Sequence[tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
    """Every token attends to every token of all ``parts``, without a mask.

    parts: (q, k, v) of each group, (B, heads, n_g, head_dim). Returns (B, n_g, width) for each.
    """
    q, k, v = (torch.cat(tensors, 2) for tensors in zip(*parts, strict=True))
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, sum n_g, width)
    return list(out.split([part[0].shape[2] for part in parts], 1))
