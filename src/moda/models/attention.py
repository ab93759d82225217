"""Joint attention over several token sequences: per-head RMS query-key normalisation and 1-D RoPE."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from moda.models.rotary import rotate

NORM_EPS = 1e-6

# Of ``QKNorm.look_nearby``: how much of a query is common to all, and how sharply attention then falls
# off with time. Chosen on the demo corpus.
COMMON_QUERY = 2.5
LOCAL_GAIN = 1.4


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    """``x`` (..., width) at unit RMS. Autocast computes it in float32 on GPUs, in one kernel."""
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS)


class QKNorm(nn.Module):
    """Normalise queries and keys to unit RMS per head, with a learned gain each."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.query = nn.RMSNorm(head_dim, eps=NORM_EPS)
        self.key = nn.RMSNorm(head_dim, eps=NORM_EPS)

    def forward(self, qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, n, 3 width) to queries and keys (2, B, n, heads, head_dim) and values (B, n, heads, head_dim)."""
        queries_keys, values = qkv.unflatten(-1, (3, heads, -1)).movedim(2, 0).split([2, 1])
        gains = torch.stack([self.query.weight, self.key.weight])
        return rms_norm(queries_keys) * gains[:, None, None, None], values.squeeze(0)

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


def joint_attention(parts: Sequence[tuple[torch.Tensor, torch.Tensor]], rotation: torch.Tensor) -> list[torch.Tensor]:
    """Every token attends to every token of all ``parts``, without a mask.

    parts: of each group, queries and keys (2, B, n_g, heads, head_dim) and values (B, n_g, heads, head_dim).
    rotation: (sum n_g, head_dim / 2, 2), of the tokens of all groups. Returns (B, n_g, width) for each.
    """
    lengths = [values.shape[1] for _, values in parts]
    queries_keys, values = parts[0] if len(parts) == 1 else (torch.cat(t, -3) for t in zip(*parts, strict=True))
    q, k = rotate(queries_keys, rotation).type_as(values).transpose(2, 3).unbind()  # (B, heads, sum n_g, head_dim) each
    out = F.scaled_dot_product_attention(q, k, values.transpose(1, 2)).transpose(1, 2).flatten(2)
    # contiguous parts: linear layers take others in three kernels instead of one
    return [out] if len(parts) == 1 else [*torch.split_with_sizes_copy(out, lengths, 1)]  # type: ignore[misc]
