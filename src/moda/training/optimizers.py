"""Optimizers with their learning-rate schedule, as ``conf/optimizer`` names them."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from moda.errors import UserError


def warmup_cosine(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Factor of the learning rate: linear from 0 over ``warmup`` steps, then half a cosine down to ``floor`` at ``total``."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def adamw_cosine(
    network: nn.Module,
    *,
    total_steps: int,
    lr: float,
    weight_decay: float = 0.01,
    betas: Sequence[float] = (0.9, 0.99),
    warmup_steps: int = 100,
    final_factor: float = 0.05,
    fused: bool = True,
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """AdamW (Loshchilov and Hutter, 2019) with warm-up and cosine decay over ``total_steps``.

    Vectors (biases, norms, null tokens) are not decayed: shrinking them regularises nothing.
    fused: one kernel updates all weights, on CPUs too; not with trainer.precision=16-mixed.
    """
    if lr <= 0:
        raise UserError(f"optimizer.lr={lr}: must be above 0")
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    beta1, beta2 = betas
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=lr, betas=(beta1, beta2), fused=fused
    )
    warmup = min(warmup_steps, total_steps // 2)  # a short trial run still reaches its learning rate

    def factor(step: int) -> float:
        return warmup_cosine(step, warmup=warmup, total=total_steps, floor=final_factor)

    return optimizer, LambdaLR(optimizer, factor)
