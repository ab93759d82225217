"""Transformer blocks of the MM-DiT: one set of weights per group of streams, or one for all."""

from collections.abc import Sequence

import torch
from torch import nn

from moda.errors import UserError
from moda.models.attention import QKNorm, joint_attention, rms_norm


def check_sizes(width: int, heads: int, mlp_ratio: float) -> None:
    if width < 1 or heads < 1 or round(mlp_ratio * width) < 1:
        raise UserError(f"model.network needs width, heads and mlp_ratio above 0, not {width}, {heads} and {mlp_ratio}")


class Modulation(nn.Module):
    """adaLN-Zero (Peebles and Xie, DiT): ``count`` vectors of ``width`` from the conditioning vector.

    It starts at zero (``reset``), so that a gated branch contributes nothing before training.
    """

    def __init__(self, width: int, count: int):
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * width)
        self.reset()

    def reset(self) -> None:
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, width), the SiLU of the conditioning vector, to ``count`` tensors (B, 1, width)."""
        return self.linear(condition)[:, None].chunk(self.count, -1)


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """RMS-normalise ``x`` (B, n, width) without a gain of its own, then scale and shift it."""
    return rms_norm(x) * (1 + scale) + shift


class GroupLayer(nn.Module):
    """The weights that one group of streams has in a multi-stream block.

    ``context_only`` groups lend keys and values to the last block and produce nothing themselves.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, context_only: bool = False):
        super().__init__()
        self.heads = heads
        self.modulation = Modulation(width, 2 if context_only else 6)
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = QKNorm(width // heads)
        self.context_only = context_only
        if not context_only:
            self.project = nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, mlp_width), nn.GELU(approximate="tanh"), nn.Linear(mlp_width, width)
            )

    def before(
        self, x: torch.Tensor, condition: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]:
        """Queries, keys and values of the group (see ``QKNorm``), and the modulation left for ``after``."""
        shift, scale, *rest = self.modulation(condition)
        return self.norm(self.qkv(modulate(x, shift, scale)), self.heads), tuple(rest)

    def after(self, x: torch.Tensor, attended: torch.Tensor, modulation: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Residual update of the tokens ``x`` (B, n, width) by attention, then by the MLP."""
        if self.context_only:
            return x
        gate_attention, shift, scale, gate_mlp = modulation
        x = x + gate_attention * self.project(attended)
        return x + gate_mlp * self.mlp(modulate(x, shift, scale))


class MultiStreamBlock(nn.Module):
    """MM-DiT block (Esser et al., Stable Diffusion 3): weights per group, attention over all groups.

    With ``last`` the groups but the first are context only: nothing reads them afterwards, and
    parameters without a gradient would stall distributed training.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, groups: int, last: bool = False):
        super().__init__()
        self.groups = nn.ModuleList(
            GroupLayer(width, heads, mlp_width, context_only=last and index > 0) for index in range(groups)
        )

    def forward(
        self, tokens: Sequence[torch.Tensor], condition: torch.Tensor, rotation: torch.Tensor
    ) -> list[torch.Tensor]:
        """tokens: (B, n_g, width) for each group; condition: (B, width); rotation: (sum n_g, head_dim / 2, 2)."""
        layers: list[GroupLayer] = list(self.groups)  # type: ignore[arg-type]
        prepared = [layer.before(x, condition) for layer, x in zip(layers, tokens, strict=True)]
        attended = joint_attention([qkv for qkv, _ in prepared], rotation)
        return [
            layer.after(x, a, modulation)
            for layer, x, a, (_, modulation) in zip(layers, tokens, attended, prepared, strict=True)
        ]


class SingleStreamBlock(nn.Module):
    """Parallel block (Dehghani et al., ViT-22B; Flux): attention and MLP side by side on one sequence."""

    def __init__(self, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.heads = heads
        self.split = [3 * width, mlp_width]
        self.modulation = Modulation(width, 3)
        self.inward = nn.Linear(width, sum(self.split))
        self.norm = QKNorm(width // heads)
        self.outward = nn.Linear(width + mlp_width, width)

    def forward(
        self, tokens: Sequence[torch.Tensor], condition: torch.Tensor, rotation: torch.Tensor
    ) -> list[torch.Tensor]:
        """As MultiStreamBlock with one group."""
        (x,) = tokens
        shift, scale, gate = self.modulation(condition)
        qkv, hidden = self.inward(modulate(x, shift, scale)).split(self.split, -1)
        (attended,) = joint_attention([self.norm(qkv, self.heads)], rotation)
        return [x + gate * self.outward(torch.cat([attended, nn.functional.gelu(hidden, approximate="tanh")], -1))]
