"""Every strategy for some steps, in processes of its own: on one device, and on two where there are as many."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting
from moda.bench.steps import Bench, lightning_cached
from moda.files import read_json, write_json
from moda.training.base import manifest_of
from moda.training.distributed.launch import free_port
from moda.training.distributed.rendezvous import local_rank
from moda.training.run import quiet

ALONE = ("deepspeed_2", "deepspeed_3", "deepspeed_1", "ddp", "single")  # by what is known least of
TOGETHER = ("ddp", "deepspeed_2")
BATCHES = {"cuda": 64, "cpu": 2}  # samples a process
STEPS = {"cuda": (10, 3), "cpu": (2, 1)}  # timed, and before


def zero(setting: Setting, results: Results) -> None:
    """The published network under each strategy, one process."""
    _measure(setting, results, ALONE, processes=1)


def nccl(setting: Setting, results: Results) -> None:
    """The published network on two devices that talk by NCCL; on a CPU two processes that talk by gloo."""
    if setting.on_gpu and torch.cuda.device_count() < 2:
        results.fact(skipped="one device: NCCL between two was not tried")
        return
    _measure(setting, results, TOGETHER, processes=2)


def _measure(setting: Setting, results: Results, strategies: Sequence[str], processes: int) -> None:
    for strategy in setting.variants(strategies):
        if strategy.startswith("deepspeed") and not find_spec("deepspeed"):
            results.note(f"{strategy}: skipped, deepspeed is not installed")
            continue
        with results.attempt(strategy):
            batch = processes * BATCHES[setting.kind]
            settings = (
                f"strategy={strategy}",
                f"trainer.devices={processes}",
                f"data.batch_size={batch}",
                "data.num_workers=0",
            )
            config = setting.config("moda_b", *settings, "compile=false")
            began = time.perf_counter()
            found = run_workers(config, *STEPS[setting.kind], processes, setting.scratch / f"{strategy}-{processes}")
            results.row(
                strategy=strategy,
                processes=processes,
                batch=batch,
                **found,
                samples_per_second=1000 * batch / found["ms_a_step"],
                seconds_in_all=time.perf_counter() - began,
            )


def run_workers(config: dict[str, Any], steps: int, warmup: int, processes: int, folder: Path) -> dict[str, float]:
    """What ``work`` measures, in so many processes of this machine. Raises RuntimeError with the last line of the
    first that fails; the others end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    job, out = folder / "job.json", folder / "result.json"
    write_json(job, {"config": config, "steps": steps, "warmup": warmup, "out": str(out)})
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": "0"}
    logs = [folder / f"rank-{rank}.log" for rank in range(processes)]
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank, log in enumerate(logs):
            with open(log, "wb") as file:
                environment = {**os.environ, **shared, "LOCAL_RANK": str(rank)}
                command = [sys.executable, "-m", "moda.bench.gpu", "worker", str(job)]
                ranks.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file))  # fmt: skip
        while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
            time.sleep(0.05)
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    for rank, log in zip(ranks, logs, strict=True):
        if rank.returncode:
            said = log.read_text(errors="replace").strip()
            print(said, file=sys.stderr, flush=True)
            raise RuntimeError(f"status {rank.returncode}: {said.splitlines()[-1] if said else 'no output'}")
    return read_json(out)


def work(job: str) -> None:
    """One process of a strategy: steps under Lightning on one batch, timed."""
    quiet()
    value = read_json(job)
    timing = lightning_cached(Bench(value["config"], manifest_of(value["config"]), value["steps"], value["warmup"]))
    if local_rank() == 0:
        write_json(value["out"], {"ms_a_step": 1000 * timing.seconds, "peak_memory_gib": timing.memory / 2**30})
