"""Random numbers that belong to a place in the training stream, not to a process."""

import torch

from moda.data.windows import hashed_seed
from moda.flow.time_sampling import TimeSampler


class Draws:
    """Noise for the samples at ``index`` (B,) of the stream.

    The whole global batch is drawn from a generator seeded by (seed, purpose, number of the batch),
    and each rank keeps its rows. So a loss does not depend on how many ranks share the batch, and a
    resumed run draws what an uninterrupted one would have drawn, with no generator state to save.
    """

    def __init__(self, seed: int, purpose: str, index: torch.Tensor, global_batch: int):
        number = int(index[0]) // global_batch
        self.rows = index % global_batch
        self.count = global_batch
        self.generator = torch.Generator(index.device).manual_seed(hashed_seed(seed, purpose, number) % 2**63)

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) standard normal float32."""
        noise = torch.randn(self.count, *shape, generator=self.generator, device=self.generator.device)
        return noise[self.rows]

    def chance(self, probability: float) -> torch.Tensor:
        """(B,) bool, True with ``probability``."""
        uniform = torch.rand(self.count, generator=self.generator, device=self.generator.device)
        return uniform[self.rows] < probability

    def times(self, sampler: TimeSampler) -> torch.Tensor:
        """(B,) sigmas of the flow."""
        return sampler(self.count, self.generator)[self.rows]
