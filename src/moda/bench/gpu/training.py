"""Training steps of the published network and of the demo: eager and compiled, by hand, under Lightning, from disk."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting, release
from moda.bench.steps import WAYS, Bench
from moda.bench.train import BARE, CACHED, REAL
from moda.training.base import TrainingModule, manifest_of, on_device
from moda.training.compilation import prepare_blocks
from moda.training.tracking.flops import known_peak, training_flops
from moda.training.tracking.gemm import dtype_of, measured_peak

WARMUP = 3  # steps; the first compiles


@dataclass(frozen=True)
class Row:
    """One measurement: samples of a step, the way, compiled or not."""

    batch: int
    way: str
    compiled: bool = False

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.way}, {'compiled' if self.compiled else 'eager'}"


@dataclass(frozen=True)
class Plan:
    """Measurements in the order of their worth, each of so many steps. One batch size is done with before the next
    is begun: blocks are compiled for one at a time."""

    rows: tuple[Row, ...]
    steps: int


def _plan(batch: int, larger: int, steps: int) -> Plan:
    ways = (BARE, CACHED, REAL)
    at_first = [Row(batch, way, compiled) for way in ways for compiled in (False, True)]
    return Plan((*at_first, Row(larger, BARE), Row(larger, BARE, True)), steps)


PLANS = {
    ("moda_b", "cuda"): _plan(64, 256, steps=15),
    ("demo", "cuda"): Plan((*(Row(16, way) for way in WAYS), Row(16, BARE, True), Row(16, REAL, True)), steps=60),
    ("moda_b", "cpu"): Plan((*(Row(2, way) for way in WAYS), Row(2, BARE, True), Row(4, BARE)), steps=2),
    ("demo", "cpu"): Plan((Row(4, BARE), Row(4, REAL)), steps=2),
}


@dataclass(frozen=True)
class Copied(Bench):
    """A bench whose modules are copies: weights of 373 M parameters drawn anew for each measurement take seconds."""

    original: TrainingModule | None = None

    def module(self) -> TrainingModule:
        module = copy.deepcopy(self.original)
        assert module is not None
        prepare_blocks(module.network, {**self.config, "compile": self.compiled})
        return module


def train(setting: Setting, results: Results) -> None:
    """The published network, moda_b."""
    _measure(setting, results, "moda_b")


def demo(setting: Setting, results: Results) -> None:
    """The demo network."""
    _measure(setting, results, "demo")


def _measure(setting: Setting, results: Results, network: str) -> None:
    plan, device = PLANS[network, setting.kind], setting.device
    config = setting.config(network)
    manifest = manifest_of(config)
    original = Bench(config, manifest, plan.steps, WARMUP).module()
    bench = Copied(config, manifest, plan.steps, WARMUP, original=original)
    precision, window = str(config["trainer"]["precision"]), config["data"]["window"]
    results.fact(
        network=network,
        parameters=sum(p.numel() for p in original.network.parameters()),
        precision=precision,
        window=window,
        readers=config["data"]["num_workers"],
    )
    flops, peaks = float("nan"), {"mfu_of_data_sheet": float("nan"), "mfu_of_own_gemm": float("nan")}
    with results.attempt("peak of products"):
        peaks = _peaks(original, plan.rows[0].batch * window, device, precision)
        results.fact(**{f"{name.removeprefix('mfu_of_')}_tflops": peak / 1e12 for name, peak in peaks.items()})
    with results.attempt("counting operations"):
        flops = _flops_of_sample(bench)
        results.fact(gflop_a_sample=flops / 1e9)
    batch = plan.rows[0].batch
    for row in setting.variants(plan.rows):
        if row.batch != batch:
            torch._dynamo.reset()  # or the blocks would be compiled once more, for any batch size, which is slower
            batch = row.batch
        with results.attempt(str(row)):
            _row(bench, row, flops, peaks, results)
        release(device)
    results.fact(**_ratios(results.rows))


def _row(bench: Copied, row: Row, flops: float, peaks: Mapping[str, float], results: Results) -> None:
    data = {**bench.config["data"], "batch_size": row.batch}
    began = time.perf_counter()
    trial = Copied(
        {**bench.config, "data": data}, bench.manifest, bench.steps, WARMUP, row.compiled, original=bench.original
    )
    timing = WAYS[row.way](trial)
    rate = row.batch / timing.seconds
    results.row(
        way=row.way,
        compiled=row.compiled,
        batch=row.batch,
        ms_a_step=1000 * timing.seconds,
        samples_per_second=rate,
        motion_tokens_per_second=rate * data["window"],
        **{name: flops * rate / peak for name, peak in peaks.items()},
        peak_memory_gib=timing.memory / 2**30,
        seconds_in_all=time.perf_counter() - began,
    )


def _peaks(module: TrainingModule, tokens: int, device: torch.device, precision: str) -> dict[str, float]:
    """Operations a second that MFU is taken of."""
    own, _ = measured_peak(module.network, tokens, device, dtype_of(precision))
    sheet = known_peak(device, precision)
    return {"mfu_of_data_sheet": sheet or float("nan"), "mfu_of_own_gemm": own}


def _flops_of_sample(bench: Copied) -> float:
    """Of forward and backward, counted on the CPU with two samples."""
    small = Bench({**bench.config, "data": {**bench.config["data"], "batch_size": 2}}, bench.manifest, 1, 1)
    assert bench.original is not None
    return training_flops(bench.original, on_device(small.batch(bench.original), torch.device("cpu"))) / 2


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the first batch size: what Lightning adds, speed from disk over that on one batch, gain of compiling."""
    first = rows[0]["batch"] if rows else 0
    ms = {(row["way"], row["compiled"]): row["ms_a_step"] for row in rows if row["batch"] == first}
    found = {}
    for compiled, suffix in ((False, ""), (True, "_compiled")):
        if {(BARE, compiled), (CACHED, compiled)} <= ms.keys():
            found[f"lightning_tax{suffix}"] = ms[CACHED, compiled] / ms[BARE, compiled] - 1
        if {(CACHED, compiled), (REAL, compiled)} <= ms.keys():
            found[f"loader{suffix}"] = ms[CACHED, compiled] / ms[REAL, compiled]
    if {(BARE, False), (BARE, True)} <= ms.keys():
        found["compile_gain"] = ms[BARE, False] / ms[BARE, True]
    return found
