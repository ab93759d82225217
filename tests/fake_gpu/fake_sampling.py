"""Sampling on the fake GPU: whole windows of one clip, through every solver, in both spaces."""

from typing import Any

import numpy as np
from fake_device import GPU
from fake_training import WINDOW, Material
from fake_watch import Watch

from moda.data.shards import FeatureShards
from moda.generation.sampler import MotionSampler
from moda.training.base import build_module, manifest_of
from moda.training.dit_module import DiTModule

WINDOWS = 3


def make_sampler(
    material: Material, *overrides: str, solver: str = "euler", interval: list[float] | None = None
) -> MotionSampler:
    """Of a transformer with weights drawn anew."""
    config = material.config(*overrides, "flow.steps=2", "flow.guidance=1.5")
    module = build_module(config, manifest_of(config))
    assert isinstance(module, DiTModule)
    sampler = module.sampler(module.network.eval())
    sampler.flow = sampler.flow.sampled(solver=solver, interval=interval)
    return sampler


def sample(sampler: MotionSampler, material: Material, watch: Watch) -> dict[str, Any]:
    """Some windows of a clip; returns the shapes of what comes out."""
    for module in (sampler.network, sampler.vae):
        if module is not None:
            module.to(GPU)
    clip = next(iter(FeatureShards(material.dataset, "val")))
    frames = WINDOW + (WINDOWS - 1) * (WINDOW - 16)
    audio = np.resize(clip.audio.astype(np.float32), (frames, *clip.audio.shape[1:]))
    controls = {"pose": np.zeros((frames, 3), np.float32)} if sampler.controls else None
    with watch.phase("sampling"):
        parts = list(sampler.sample(audio, clip.identity, 0, clip.motion[0], controls=controls))
    return {"frames": [len(part) for part in parts]}
