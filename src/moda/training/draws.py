"""Random numbers that belong to a place in the training stream, not to a process."""

from collections.abc import Callable

import torch

from moda.data.windows import hashed_seed
from moda.flow.time_sampling import TimeSampler

BLOCK = 16  # places that are drawn together


class Draws:
    """Noise for the samples at ``index`` (B,) of the stream, on ``device``.

    Each block of consecutive places has a generator of its own, seeded by (seed, purpose, number of the
    block), and a rank keeps the rows of its samples. So a loss does not depend on how many ranks or
    accumulated batches share a step, and a resumed run draws what an uninterrupted one would have drawn,
    with no generator state to save. ``index`` stays on the CPU, so that nothing waits for a GPU.
    """

    def __init__(
        self, seed: int, purpose: str, index: torch.Tensor, device: torch.device | str = "cpu", block: int = BLOCK
    ):
        numbers, which = torch.unique(index // block, return_inverse=True)
        self.block = block
        self.rows = (which * block + index % block).to(device, non_blocking=True)
        self.generators = [
            torch.Generator(device).manual_seed(hashed_seed(seed, purpose, number) % 2**63)
            for number in numbers.tolist()
        ]

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) standard normal float32."""
        return self._draw(lambda g: torch.randn(self.block, *shape, generator=g, device=g.device))

    def uniform(self, count: int) -> torch.Tensor:
        """(count, B) uniform in [0, 1)."""
        return self._draw(lambda g: torch.rand(count, self.block, generator=g, device=g.device), 1)

    def times(self, sampler: TimeSampler, beside: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) sigmas of the flow, and (beside, B) uniform numbers: one draw of a block where both are uniform."""
        if sampler.normal:
            return sampler.of(self.normal()), self.uniform(beside)
        first, *others = self.uniform(1 + beside).split([1, beside])
        return sampler.of(first[0]), others[0]

    def _draw(self, make: Callable[[torch.Generator], torch.Tensor], dim: int = 0) -> torch.Tensor:
        """What each block's generator makes, side by side along ``dim``; this rank's rows of it."""
        return torch.cat([make(generator) for generator in self.generators], dim).index_select(dim, self.rows)
