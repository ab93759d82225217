"""The largest batch that a device has memory for, by doubling and then halving the distance."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting, release
from moda.bench.memory import PeakMemory
from moda.bench.steps import Bench
from moda.build import build
from moda.data.windows import Batch
from moda.training.base import TrainingModule, manifest_of, mixed, on_device
from moda.training.draws import Draws
from moda.training.tracking.gemm import synchronize


@dataclass(frozen=True)
class Search:
    """Batches from ``first``, at most ``most``, to within ``grain``; no new one is tried after so many seconds."""

    first: int
    most: int
    grain: int
    seconds: float


SEARCHES = {"cuda": Search(128, 8192, 16, seconds=12), "cpu": Search(2, 8, 1, seconds=5)}
STEPS = 2  # of each trial: the second has the optimizer's state from its beginning


def largest_batch(setting: Setting, results: Results) -> None:
    """Training steps of moda_b, eager; as it is and with blocks that are computed again in the backward pass."""
    search = SEARCHES[setting.kind]
    for recompute in setting.variants((False, True)):
        with results.attempt(f"recompute {recompute}"):
            trial = Trial.of(setting, recompute)
            found, limited = search_largest(trial.fits, search)
            results.row(network="moda_b", recompute=recompute, largest_batch=found, out_of_memory_above=limited, **trial.measured.get(found, {}))  # fmt: skip
            del trial
        release(setting.device)


def search_largest(fits: Callable[[int], bool], search: Search) -> tuple[int, int | None]:
    """(largest batch that fits, smallest known one that does not; None where none was met)."""
    deadline = time.monotonic() + search.seconds
    good, bad, size = 0, None, search.first
    while time.monotonic() < deadline:
        if fits(size):
            good = size
        else:
            bad = size
        if bad is None and good >= search.most:
            break
        if bad is not None and bad - good <= search.grain:
            break
        middle = min(2 * size, search.most) if bad is None else (good + bad) // 2
        size = max(middle // search.grain, 1) * search.grain
        if size in (good, bad):
            break
    return good, bad


class Trial:
    """Training steps of one network with batches of any size, which repeat a few windows."""

    def __init__(self, config: dict[str, Any], module: TrainingModule, batch: Batch, device: torch.device):
        self.config, self.module, self.device = config, module, device
        self.batch = on_device(batch, device)
        self.optimizer, _ = build(config["optimizer"])(module.network, total_steps=1000)
        self.measured: dict[int, dict[str, float]] = {}

    @classmethod
    def of(cls, setting: Setting, recompute: bool) -> "Trial":
        config = setting.config("moda_b", "data.batch_size=2", f"recompute={recompute}")
        bench = Bench(config, manifest_of(config), steps=1, warmup=1)
        module, device = bench.module(), setting.device
        batch = bench.batch(module)
        module.to(device)
        module.on_fit_start()
        return cls(config, module, batch, device)

    def fits(self, size: int) -> bool:
        """Whether steps of ``size`` samples go through; what they took is kept in ``measured``."""
        try:
            with PeakMemory(self.device) as memory:
                batch = repeated(self.batch, size)
                for _ in range(STEPS):
                    synchronize(self.device)
                    began = time.perf_counter()
                    self._step(batch)
                    synchronize(self.device)
                    seconds = time.perf_counter() - began
        except torch.OutOfMemoryError:
            self.optimizer.zero_grad(set_to_none=True)
            fitted = False
        else:
            self.measured[size] = {"peak_memory_gib": memory.bytes / 2**30, "samples_per_second": size / seconds}
            fitted = True
        batch = None
        release(self.device)
        return fitted

    def _step(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with mixed(self.config["trainer"]["precision"], self.device):
            draws = Draws(0, "train", batch["index"], self.device)
            loss = self.module.losses(batch, draws)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.network.parameters(), 1.0)
        self.optimizer.step()


def repeated(batch: Batch, size: int) -> Batch:
    """``size`` samples of those in ``batch``, again and again; each with an index of its own, as noise goes by it."""
    count = len(batch["index"])
    rows = torch.arange(size) % count
    larger: Batch = {name: v[rows.to(v.device)] for name, v in batch.items() if torch.is_tensor(v)}
    return {**larger, "key": [batch["key"][row] for row in rows.tolist()], "index": torch.arange(size)}
