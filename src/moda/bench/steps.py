"""The same training steps three ways: a bare loop, Lightning, Lightning with the real loader."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from moda.bench.memory import PeakMemory
from moda.build import build
from moda.data.module import ShardDataModule
from moda.data.schema import DatasetManifest
from moda.data.share import Share
from moda.data.windows import Batch
from moda.training.base import TrainingModule, build_module, mixed, on_device
from moda.training.checkpoints.ema import EMA
from moda.training.compilation import prepare_blocks
from moda.training.distributed.rendezvous import local_rank
from moda.training.distributed.resources import Resources, readers_of
from moda.training.draws import Draws
from moda.training.faults.consensus import Consensus
from moda.training.faults.nonfinite import FLAGS, NonFiniteGuard
from moda.training.faults.preemption import Preemption
from moda.training.run import make_trainer
from moda.training.tracking.gemm import synchronize
from moda.training.tracking.metrics import METRICS_NAME, MetricsFile
from moda.training.tracking.recording import StepRecorder

Config = Mapping[str, Any]
EMA_WEIGHT = 1e-3


@dataclass(frozen=True)
class Timing:
    """seconds: of one optimizer step, the mean over a run of them. memory: most bytes in use at once."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Bench:
    """What is measured: one configuration in one process (or one rank of several), compiled or not."""

    config: Config
    manifest: DatasetManifest
    steps: int
    warmup: int
    compiled: bool = False

    @property
    def resources(self) -> Resources:
        return Resources.of(self.config["trainer"])

    @property
    def accumulate(self) -> int:
        return int(self.config["trainer"]["accumulate_grad_batches"])

    def module(self) -> TrainingModule:
        """The task with new weights: a strategy may have taken the last one's apart."""
        torch.manual_seed(self.config["seed"])
        module = build_module(self.config, self.manifest)
        prepare_blocks(module.network, {**self.config, "compile": self.compiled})
        return module

    def data(self, module: TrainingModule) -> ShardDataModule:
        cut = {"previous": module.previous, "reference_scale": module.reference_scale}
        settings = {
            **self.config["data"],
            "num_workers": readers_of(self.config["data"], self.manifest, self.resources),
        }
        return ShardDataModule(**settings, **cut, seed=self.config["seed"], manifest=self.manifest)

    def batch(self, module: TrainingModule, rank: int = 0) -> Batch:
        """The first micro-batch of a rank."""
        data, ranks = self.data(module), self.resources.processes
        share = Share(data.micro_batch(ranks, self.accumulate), rank, ranks)
        batch = next(iter(data.train_stream(share)))
        batch.pop("skipped", None)
        return batch


def lightning_real(bench: Bench) -> Timing:
    """As ``moda train`` does it, but for validation, previews, checkpoints and the progress display."""
    module = bench.module()
    return _fit(bench, module, bench.data(module))


def lightning_cached(bench: Bench) -> Timing:
    """The same, given one batch again and again."""
    module = bench.module()
    return _fit(bench, module, _CachedData(bench, module))


def bare(bench: Bench) -> Timing:
    """Forward, backward, clipping, optimizer, schedule and average, written out for one batch."""
    module = bench.module()
    device, rank = _device(bench)
    module.to(device)
    module.on_fit_start()
    batch = on_device(bench.batch(module, rank), device)
    step = _bare_step(bench, module, batch, device)
    for _ in range(bench.warmup):
        step()
    synchronize(device)
    with PeakMemory(device) as memory:
        began = time.perf_counter()
        for _ in range(bench.steps):
            step()
        synchronize(device)
        seconds = (time.perf_counter() - began) / bench.steps
    return Timing(seconds, memory.bytes)


def _bare_step(bench: Bench, module: TrainingModule, batch: Batch, device: torch.device) -> Callable[[], None]:
    if "stage" in bench.config["strategy"]:
        return _zero_step(bench, module, batch)
    config, network = bench.config, module.network
    optimizer, schedule = build(config["optimizer"])(network, total_steps=bench.warmup + bench.steps)
    limit = config["trainer"]["gradient_clip_val"] or float("inf")
    weights = [p for p in network.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in weights]
    model: nn.Module = _Loss(module, bench.resources.precision)
    if bench.resources.processes > 1:
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

    def step() -> None:
        optimizer.zero_grad()
        for _ in range(bench.accumulate):
            (model(batch) / bench.accumulate).backward()
        nn.utils.clip_grad_norm_(weights, limit)
        optimizer.step()
        schedule.step()
        torch._foreach_lerp_(average, [p.detach() for p in weights], EMA_WEIGHT)  # type: ignore[attr-defined]

    return step


def _zero_step(bench: Bench, module: TrainingModule, batch: Batch) -> Callable[[], None]:
    """DeepSpeed's engine by itself, with the settings it gets from the strategy."""
    config, ranks = bench.config, bench.resources.processes
    strategy = build({**config["strategy"], "_partial_": True})(resources=bench.resources)  # chooses DeepSpeed's device
    import deepspeed

    from moda.training.checkpoints.masters import zero_1_2, zero_3

    optimizer, schedule = build(config["optimizer"])(module.network, total_steps=bench.warmup + bench.steps)
    settings = {
        **strategy.config,
        "train_micro_batch_size_per_gpu": config["data"]["batch_size"] // ranks // bench.accumulate,
        "gradient_accumulation_steps": bench.accumulate,
        "gradient_clipping": config["trainer"]["gradient_clip_val"] or 0.0,
        "bf16": {"enabled": str(config["trainer"]["precision"]).startswith("bf16")},
    }
    engine, *_ = deepspeed.initialize(
        model=_Loss(module, bench.resources.precision),
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=settings,
        dist_init_required=False,
    )
    zero = engine.optimizer
    stage_3 = config["strategy"]["stage"] == 3
    held = zero_3(module.network, zero, dist.get_rank(), module.device) if stage_3 else zero_1_2(module.network, zero)
    pieces = held.pieces
    average = [piece.values.float().clone() for piece in pieces]

    def step() -> None:
        for _ in range(bench.accumulate):
            engine.backward(engine(batch))
            engine.step()
        torch._foreach_lerp_(average, [piece.values.float() for piece in pieces], EMA_WEIGHT)  # type: ignore[attr-defined]

    return step


class _Loss(nn.Module):
    """What DistributedDataParallel and DeepSpeed wrap: a module whose forward is the loss."""

    def __init__(self, module: TrainingModule, precision: str):
        super().__init__()
        self.network = module.network  # so that its weights are found
        self._module, self.precision = [module], precision  # a list hides it from the module tree

    def forward(self, batch: Batch) -> torch.Tensor:
        (module,) = self._module
        with mixed(self.precision, module.device):
            return module.losses(batch, Draws(module.setup_.seed, "train", batch["index"], module.device))["loss"]


def _device(bench: Bench) -> tuple[torch.device, int]:
    """Device and rank of this process; a group of several is joined."""
    resources, rank = bench.resources, 0
    if resources.processes > 1:
        rank = local_rank()
        if not dist.is_initialized():
            backend = "nccl" if resources.on_gpu else "gloo"
            dist.init_process_group(backend, rank=rank, world_size=resources.processes)
    device = resources.device(rank)
    if resources.on_gpu:
        torch.cuda.set_device(device)
    return device, rank


def _fit(bench: Bench, module: TrainingModule, data: L.LightningDataModule) -> Timing:
    total = bench.warmup + bench.steps
    settings = {**bench.config["trainer"], "max_steps": total, "val_check_interval": None, "limit_val_batches": 0}
    config = {**bench.config, "trainer": settings}
    watch = _Stopwatch(bench.warmup, total)
    consensus = Consensus(("signal", *FLAGS), bench.resources.patience)
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as name:
        folder = Path(name)
        callbacks = [
            consensus,
            Preemption(consensus, lambda trainer: None),
            NonFiniteGuard(folder, consensus, config["seed"], folder),
            EMA(**config["ema"]),
            StepRecorder(),
            watch,
        ]
        trainer = make_trainer(config, bench.resources, folder, [MetricsFile(folder / METRICS_NAME)], callbacks)
        trainer.fit(module, data)
    return Timing(watch.seconds / bench.steps, watch.memory.bytes)


class _Stopwatch(L.Callback):
    """Times the steps from ``first`` (excluded) to ``last``, waiting for the device at both ends only."""

    def __init__(self, first: int, last: int):
        self.first, self.last = first, last
        self.seconds = 0.0
        self._step = -1

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step == self._step:
            return  # gradients accumulate
        self._step = trainer.global_step
        if self._step == self.first:
            synchronize(pl_module.device)
            self.memory = PeakMemory(pl_module.device)
            self.memory.__enter__()
            self.seconds = -time.perf_counter()
        elif self._step == self.last:
            synchronize(pl_module.device)
            self.seconds += time.perf_counter()
            self.memory.__exit__()


class _CachedData(L.LightningDataModule):
    """The same batch for ever."""

    def __init__(self, bench: Bench, module: TrainingModule):
        super().__init__()
        self.bench, self.module = bench, module

    def train_dataloader(self) -> DataLoader:
        batch = on_device(self.bench.batch(self.module, local_rank()), self.module.device)
        return DataLoader(_Repeat(batch), batch_size=None)


class _Repeat(IterableDataset):
    def __init__(self, batch: Batch):
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield dict(self.batch)


WAYS: dict[str, Callable[[Bench], Timing]] = {
    "bare loop, cached batch": bare,
    "Lightning, cached batch": lightning_cached,
    "Lightning, real loader": lightning_real,
}
