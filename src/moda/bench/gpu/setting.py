"""Setting of a part: the device, the networks as they are there, and the data sets that parts share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from moda.bench.synthetic import write_synthetic
from moda.cli.bench import PRESETS
from moda.cli.hydra_app import compose
from moda.cli.train import resolve
from moda.devices import resolve_device

T = TypeVar("T")

COMMON = ("logger=none", "preview.every=0", "trainer.precision=bf16-mixed", "data.cache_mb=1")
# clips a little longer than a window: the data set is written in seconds
SHARDS: dict[str, dict[str, Any]] = {"cuda": {"shards": 8, "seconds": 4}, "cpu": {"shards": 2, "seconds": 1}}
TINY_STAGES = "[{depth:1,groups:[[motion],[audio,emotion,identity]]}]"  # compiled in half a minute
# What makes a network so small that each part takes seconds on a CPU.
TINY = (
    "trainer=cpu", "data.num_workers=0", "data.window=16", "overlap=4", "model.network.width=32",
    "model.network.heads=2", f"model.network.stages={TINY_STAGES}",
)  # fmt: skip
TINY_SIZES = {"moda_b": {"audio_layers": 2, "audio_dim": 16}}


@dataclass(frozen=True)
class Setting:
    """kind: cuda or cpu, where tiny networks stand in. quick: the first variant of each measurement alone.
    scratch: folder for what parts share.
    """

    kind: str
    quick: bool
    scratch: Path

    @property
    def device(self) -> torch.device:
        device = resolve_device(self.kind)
        return torch.device("cuda", 0) if device.type == "cuda" else device

    @property
    def on_gpu(self) -> bool:
        return self.kind == "cuda"

    def variants(self, items: Sequence[T]) -> Sequence[T]:
        """All of ``items``, or the first where it has to be quick."""
        return items[:1] if self.quick else items

    def config(self, network: str, *overrides: str, task: str = "dit") -> dict[str, Any]:
        """Settings of a training of ``network``, demo or moda_b, or of another task on its data."""
        return resolve(compose("train", self.overrides(network, *overrides, task=task)))

    def overrides(self, network: str, *overrides: str, task: str = "dit") -> list[str]:
        """What follows ``moda train`` for that training."""
        preset = [text for text in PRESETS[network][0] if not text.startswith("trainer=")]
        place = ["trainer=gpu", "trainer.devices=1", "data.num_workers=8"] if self.on_gpu else [*TINY]
        if task != "dit":
            named = ("task=", "model", "overlap=")
            preset, place = ([text for text in texts if not text.startswith(named)] for texts in (preset, place))
            preset = [f"task={task}", *preset]
        return [*preset, *place, *COMMON, f"data.path={self.dataset(network)}", *overrides]

    def dataset(self, network: str) -> Path:
        """A data set of noise in the sizes of ``network``, written when it is first asked for."""
        path = self.scratch / f"data-{network}"
        if not path.is_dir():
            self.scratch.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.{os.getpid()}")
            sizes: dict[str, Any] = {**PRESETS[network][1]} | ({} if self.on_gpu else TINY_SIZES.get(network, {}))
            write_synthetic(unfinished, **sizes, **SHARDS[self.kind])
            unfinished.rename(path)
        return path


def release(device: torch.device) -> None:
    """Give back the memory of what is no longer used, so that it does not count in the next measurement."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
