"""``moda bench model``: the transformer alone, forward and forward with backward."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from moda.bench.memory import PeakMemory
from moda.models.mmdit import MMDiT
from moda.training.tracking.gemm import synchronize


@dataclass(frozen=True)
class Passes:
    """Seconds of each measured pass, and the most bytes in use at once (of a CPU: by the process)."""

    name: str
    seconds: Sequence[float]
    memory: float

    def __str__(self) -> str:
        low, middle, high = (1000 * f(self.seconds) for f in (min, statistics.median, max))
        return f"{self.name:<18} {middle:9.1f} ms ({low:.1f} to {high:.1f}), peak memory {self.memory / 2**30:.2f} GiB"


def measure_model(network: MMDiT, batch: int, frames: int, repeats: int) -> list[Passes]:
    """Time passes of ``network``, where its parameters are and in their precision, on noise.

    batch: samples; frames: motion tokens of each. The first pass of each kind is not counted.
    """
    device = next(network.parameters()).device
    inputs = random_inputs(network, batch, frames, device)

    def forward() -> None:
        with torch.inference_mode():
            network(**inputs)

    def backward() -> None:
        network.zero_grad(set_to_none=True)
        network(**inputs).square().mean().backward()

    return [_measured(*way, device, repeats) for way in (("forward", forward), ("forward, backward", backward))]


def random_inputs(network: MMDiT, batch: int, frames: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Arguments of the network's ``forward``."""
    dtype = next(network.parameters()).dtype

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, device=device, dtype=dtype)

    return {
        "noisy_motion": noise(frames, network.motion_dim),
        "previous_motion": noise(1, network.motion_dim),
        "audio": noise(frames, *network.audio_shape),
        "identity": noise(network.identity_dim),
        "emotion": torch.zeros(batch, dtype=torch.long, device=device),
        "timestep": torch.full((batch,), 500.0, device=device),
    }


def _measured(name: str, action: Callable[[], None], device: torch.device, repeats: int) -> Passes:
    action()
    seconds = []
    with PeakMemory(device) as memory:
        for _ in range(repeats):
            synchronize(device)
            began = time.perf_counter()
            action()
            synchronize(device)
            seconds.append(time.perf_counter() - began)
    return Passes(name, seconds, memory.bytes)
