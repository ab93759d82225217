"""Samplers around oracle networks, whose velocity is known, and around small real ones."""

from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.flow.rectified import RectifiedFlow
from moda.generation.sampler import MotionSampler
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics

LAYOUT = MotionLayout("tiny", ("a", "b", "c"), MappingProxyType({}), MappingProxyType({}))
STATISTICS = MotionStatistics(LAYOUT, np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0]), 100)
REST = np.array([0.3, -1.0, 0.2], np.float32)
STAGES = [
    {"depth": 1, "groups": [["motion"], ["audio", "emotion", "identity"]]},
    {"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]},
]
IDENTITY = np.array([0.5, -0.5], np.float32)


class Oracle(nn.Module):
    """Knows the data exactly: flows from any noise straight to ``target(conditions)``."""

    motion_dim, audio_shape, identity_dim, num_emotions, context, controls = 3, (1, 3), 2, 8, 0, {}

    def __init__(self, target):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.target = target
        self.calls: list[dict] = []

    def forward(self, noisy_motion, timestep, **conditions):
        self.calls.append({"batch": len(noisy_motion), "timestep": timestep, **conditions})
        return (noisy_motion - self.target(noisy_motion, **conditions)) / (timestep / 1000)[:, None, None]


def audio_is_motion(noisy_motion, audio, **_):
    return audio[:, :, 0]


def count_on(noisy_motion, previous_motion, **_):
    """Each frame is the one before plus one."""
    return previous_motion + torch.arange(1.0, noisy_motion.shape[1] + 1)[:, None]


def oracle_sampler(target, window=16, overlap=4, published=None, **flow) -> MotionSampler:
    settings = RectifiedFlow(**({"steps": 2, "guidance": 1.0} | flow))
    where = {"window": window, "overlap": overlap, "published": published}
    return MotionSampler(Oracle(target), statistics=STATISTICS, flow=settings, **where)  # type: ignore[arg-type]


def awake(module: Any) -> Any:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def real_sampler(space: str, vae: MotionVAE | None = None, **changes) -> MotionSampler:
    torch.manual_seed(0)
    if space == "latent":
        vae = awake(vae or MotionVAE(3, latent_dim=5, width=8, stride=4))
    network = awake(MMDiT(5 if vae else 3, 1, 3, 2, stages=STAGES, width=16, heads=2))
    settings = {"window": 16, "overlap": 4, "previous": 4 if vae else 1, "flow": RectifiedFlow(steps=2)}
    return MotionSampler(network, statistics=STATISTICS, vae=vae, **(settings | changes))  # type: ignore[arg-type]


def features(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 1, 3)).astype(np.float32)
