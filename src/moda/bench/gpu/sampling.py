"""Times of sampling: for a second of motion, and until the first window is there."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting, release
from moda.bench.memory import PeakMemory
from moda.data.shards import FeatureShards
from moda.generation.sampler import MotionSampler
from moda.interop.export import write_export
from moda.training.base import build_module, manifest_of
from moda.training.dit_module import DiTModule

CASES = (("moda_b", "motion"), ("moda_b", "latent"), ("demo", "motion"), ("demo", "latent"))
SECONDS = {"cuda": 10, "cpu": 2}  # of motion
STEPS = {"cuda": 10, "cpu": 2}
TURNS = 3
GUIDANCE = 1.2


def sampling(setting: Setting, results: Results) -> None:
    """Networks with weights drawn anew, in float32 as generation runs them; the median of the turns counts."""
    seconds, steps = SECONDS[setting.kind], STEPS[setting.kind]
    results.fact(seconds_of_motion=seconds, steps=steps, guidance=GUIDANCE, precision="32-true")
    for network, space in setting.variants(CASES):
        with results.attempt(f"{network}, {space}"):
            sampler = make_sampler(setting, network, space)
            with PeakMemory(setting.device) as memory:
                turns = [_turn(sampler, seconds, steps) for _ in range(TURNS + 1)][1:]
            first, whole = (sorted(times)[len(turns) // 2] for times in zip(*turns, strict=True))
            results.row(
                network=network,
                space=space,
                real_time_factor=whole / seconds,
                ms_to_the_first_window=1000 * first,
                ms_in_all=1000 * whole,
                peak_memory_gib=memory.bytes / 2**30,
            )
            del sampler
        release(setting.device)


def make_sampler(setting: Setting, network: str, space: str) -> MotionSampler:
    """On the device of ``setting``."""
    vae = [f"model.motion_vae={_motion_vae(setting, network)}"] if space == "latent" else []
    config = setting.config(network, f"model.space={space}", *vae)
    module = build_module(config, manifest_of(config))
    assert isinstance(module, DiTModule)
    sampler = module.sampler(module.network.eval())
    for part in (sampler.network, sampler.vae):
        if part is not None:
            part.to(setting.device)
    return sampler


def _motion_vae(setting: Setting, network: str) -> Path:
    """Export of a motion VAE that has learned nothing, for the data of ``network``."""
    folder = setting.scratch / f"motion-vae-{network}"
    if not folder.is_dir():
        config = setting.config(network, "task.module.latent_frames=500", task="motion_vae")
        module = build_module(config, manifest_of(config))
        shards = FeatureShards(config["data"]["path"], "train", module.manifest)
        write_export(folder, module.export(module.network.eval(), 0, config, shards))
    return folder


def _turn(sampler: MotionSampler, seconds: int, steps: int) -> tuple[float, float]:
    """Seconds until the first frames and until the last; frames are on the host when they come."""
    statistics, network = sampler.statistics, sampler.network
    frames, rng = seconds * statistics.layout.fps, np.random.default_rng(0)
    audio = rng.standard_normal((frames, *network.audio_shape), np.float32)
    arguments: Any = (audio, rng.standard_normal(network.identity_dim, np.float32), 0, statistics.mean)
    began = time.perf_counter()
    parts = sampler.sample(*arguments, seed=0, steps=steps, guidance=GUIDANCE)
    count = len(next(parts))
    first = time.perf_counter() - began
    count += sum(len(part) for part in parts)
    whole = time.perf_counter() - began
    assert count == frames, (count, frames)
    return first, whole
