"""``moda bench train``: what each part of a training step costs, measured side by side in one run.

The ways of ``steps.WAYS`` take turns, ``repeats`` times, so that whatever slows the machine down slows
them alike; ratios are taken within a turn, and the median of the turns counts. Each strategy runs in
processes of its own, started as those of a training are.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from moda.bench.steps import WAYS, Bench, bare
from moda.files import read_json, write_json
from moda.training.base import manifest_of, on_device
from moda.training.compilation import STAGES
from moda.training.distributed.launch import run_ranks
from moda.training.distributed.rendezvous import local_rank
from moda.training.distributed.resources import Resources
from moda.training.faults.stop_signals import stop_signals
from moda.training.run import quiet
from moda.training.tracking.facts import environment
from moda.training.tracking.flops import training_flops
from moda.training.tracking.gemm import dtype_of, measured_peak

BARE, CACHED, REAL = WAYS
WARMUP = 3  # steps
FEWEST, MOST = 3, 2000  # steps timed in a turn


@dataclass(frozen=True)
class Options:
    """compiled: measure that too. repeats: turns. seconds: of each way in a turn, about."""

    compiled: bool = False
    repeats: int = 5
    seconds: float = 2.0


def bench_train(
    configs: Mapping[str, Mapping[str, Any]], options: Options, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure every strategy (name -> configuration) and return what ``moda bench train`` writes and prints."""
    results = {}
    for name, config in configs.items():
        processes = Resources.of(config["trainer"]).processes
        compiled = options.compiled and config["strategy"].get("stage", 0) in STAGES
        but = "" if compiled == options.compiled else ", not compiled: it does not go with this strategy"
        say(f"measuring strategy={name} in {processes} process{'es' if processes > 1 else ''}{but}")
        with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
            job, out = Path(folder) / "job.json", Path(folder) / "result.json"
            write_json(job, {"config": config, "options": asdict(replace(options, compiled=compiled)), "out": str(out)})
            run_ranks([str(job)], processes, command=("bench", "rank"))
            results[name] = read_json(out)
    return {"environment": environment(), "options": asdict(options), "strategies": results}


def run_rank(job: str | Path) -> None:
    """One rank of one strategy, as ``moda bench rank`` runs it."""
    quiet()
    value = read_json(job)
    with stop_signals.taking(()):  # they come blocked, and there is nothing here to save: whoever stops it ends it
        result = measure(value["config"], Options(**value["options"]))
    if local_rank() == 0:
        write_json(value["out"], result)


def measure(config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Times in ms of every way, turn by turn, and what they are compared with."""
    manifest = manifest_of(config)
    trial = Bench(config, manifest, steps=2, warmup=1)
    steps = _agreed(min(max(round(options.seconds / bare(trial).seconds), FEWEST), MOST))
    module = trial.module()
    device = trial.resources.device(local_rank())
    batch = on_device(trial.batch(module, local_rank()), device)
    dtype = dtype_of(str(config["trainer"]["precision"]))
    tokens = len(batch["index"]) * config["data"]["window"]
    peak, own = measured_peak(module.network, tokens, device, dtype)
    flops = training_flops(module, batch) * trial.accumulate
    rows: dict[tuple[bool, str], dict[str, Any]] = {}
    for _, compiled, way in product(range(options.repeats), (False, True) if options.compiled else (False,), WAYS):
        timing = WAYS[way](Bench(config, manifest, steps, WARMUP, compiled))
        row = rows.setdefault((compiled, way), {"way": way, "compiled": compiled, "ms": [], "memory_gib": 0.0})
        row["ms"].append(1000 * timing.seconds)
        row["memory_gib"] = max(row["memory_gib"], timing.memory / 2**30)
    for row in rows.values():
        seconds = statistics.median(row["ms"]) / 1000
        row |= {"samples_per_second": config["data"]["batch_size"] / seconds, "mfu": flops / seconds / peak}
    return {
        "ranks": trial.resources.processes,
        "batch_size": config["data"]["batch_size"],
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "precision": str(config["trainer"]["precision"]),
        "threads": torch.get_num_threads(),
        "steps_a_turn": steps,
        "tflop_a_step_and_device": flops / 1e12,
        "gemm_tflops": {"peak": peak / 1e12, "own_shapes": own / 1e12},
        "rows": list(rows.values()),
        "ratios": ratios(list(rows.values())),
    }


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians of what was compared within the turns.

    lightning_tax: extra time of a step under Lightning, share of the bare loop's. loader: speed with the real
    loader, share of that on a cached batch. compile_gain: how many times faster the bare loop is compiled.
    """
    times = {(row["compiled"], row["way"]): row["ms"] for row in rows}

    def median(above: tuple[bool, str], below: tuple[bool, str]) -> float:
        return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))

    found: dict[str, float] = {}
    for compiled in sorted({row["compiled"] for row in rows}):
        suffix = "_compiled" if compiled else ""
        found[f"lightning_tax{suffix}"] = median((compiled, CACHED), (compiled, BARE)) - 1
        found[f"loader{suffix}"] = median((compiled, CACHED), (compiled, REAL))
    if (True, BARE) in times:
        found["compile_gain"] = median((False, BARE), (True, BARE))
    return found


def print_tables(result: Mapping[str, Any]) -> None:
    """The measurements of ``bench_train`` on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, strategy in result["strategies"].items():
        gemm = strategy["gemm_tflops"]
        title = (
            f"strategy={name}: {strategy['ranks']} rank(s), {strategy['parameters'] / 1e6:.1f} M parameters, "
            f"{strategy['precision']}, batch {strategy['batch_size']}; GEMM peak {gemm['peak']:.3g} TFLOP/s, "
            f"{gemm['own_shapes']:.3g} in the network's shapes"
        )
        table = Table("", "compiled", "ms a step", "samples/s", "MFU", "peak memory", title=title, title_justify="left")
        for row in strategy["rows"]:
            spread = f"{min(row['ms']):.1f} to {max(row['ms']):.1f}"
            table.add_row(
                row["way"],
                "yes" if row["compiled"] else "no",
                f"{statistics.median(row['ms']):.2f} ({spread})",
                f"{row['samples_per_second']:.1f}",
                f"{100 * row['mfu']:.1f} %",
                f"{row['memory_gib']:.2f} GiB",
            )
        console.print(table)
        console.print("  ".join(f"{key} {value:.3f}" for key, value in strategy["ratios"].items()))


def _agreed(count: int) -> int:
    """Rank 0's number on every rank."""
    if not dist.is_initialized():
        return count
    box = [count]
    dist.broadcast_object_list(box, src=0)
    return box[0]
