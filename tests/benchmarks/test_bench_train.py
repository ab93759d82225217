"""The ways that ``moda bench train`` compares do the same work, and its report says what it measured."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module

from moda.bench import steps, train
from moda.bench.memory import PeakMemory
from moda.bench.train import BARE, CACHED, REAL, ratios
from moda.cli import main as cli
from moda.cli.train import resolve
from moda.data.schema import DatasetManifest
from moda.files import read_json, write_json
from moda.training.base import on_device
from moda.training.tracking.gemm import gemm_rate

TINY = (
    "task=dit", "model.space=motion", "model.network.width=16", "model.network.heads=2", "overlap=4", "data.window=16",
    "data.batch_size=4", "optimizer.warmup_steps=0",
)  # fmt: skip


def bench(data: Path, *overrides: str) -> steps.Bench:
    with initialize_config_module("moda.conf", version_base=None):
        config: dict[str, Any] = resolve(compose("train", [*TINY, f"data.path={data}", *overrides]))
    return steps.Bench(config, DatasetManifest.load(data), steps=2, warmup=1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_bare_loop_and_lightning_end_with_the_same_weights(tiny_dataset: Path, accumulate: int) -> None:
    trial = bench(tiny_dataset, f"trainer.accumulate_grad_batches={accumulate}", "optimizer.lr=1e-2")
    by_hand, by_lightning = trial.module(), trial.module()
    begun = by_hand.network.state_dict()
    begun = {name: value.clone() for name, value in begun.items()}
    cpu = torch.device("cpu")
    step = steps._bare_step(trial, by_hand, on_device(trial.batch(by_hand), cpu), cpu)
    for _ in range(trial.warmup + trial.steps):
        step()
    timing = steps._fit(trial, by_lightning, steps._CachedData(trial, by_lightning))
    assert timing.seconds > 0 and timing.memory > 0
    ours, theirs = by_hand.network.state_dict(), by_lightning.network.state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert any(not torch.equal(begun[name], value) for name, value in theirs.items())


def test_ratios_are_medians_of_what_happened_in_the_same_turn() -> None:
    rows = [
        {"compiled": False, "way": BARE, "ms": [100.0, 200.0, 100.0]},  # the machine was slow in the second turn
        {"compiled": False, "way": CACHED, "ms": [102.0, 204.0, 150.0]},
        {"compiled": False, "way": REAL, "ms": [120.0, 204.0, 180.0]},
        {"compiled": True, "way": BARE, "ms": [50.0, 100.0, 25.0]},
        {"compiled": True, "way": CACHED, "ms": [50.0, 100.0, 25.0]},
        {"compiled": True, "way": REAL, "ms": [50.0, 100.0, 25.0]},
    ]
    found = ratios(rows)
    assert found["lightning_tax"] == pytest.approx(0.02) and found["lightning_tax_compiled"] == 0
    assert found["loader"] == pytest.approx(0.85, abs=0.002) and found["compile_gain"] == 2


def test_a_product_has_a_rate_and_memory_a_peak() -> None:
    with PeakMemory(torch.device("cpu")) as memory:
        assert gemm_rate(64, 64, 64, torch.device("cpu"), torch.float32, seconds=0.01) > 0
    assert memory.bytes > 2**20


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tiny_dataset: Path, tmp_path: Path, capfd) -> None:
    out = tmp_path / "bench.json"
    arguments = ["--repeats", "2", "--seconds", "0.05", "--out", str(out), *TINY, f"data.path={tiny_dataset}"]
    assert cli.main(["bench", "train", *arguments]) == 0
    result = read_json(out)["strategies"]["single"]
    assert [row["way"] for row in result["rows"]] == [BARE, CACHED, REAL]
    assert all(len(row["ms"]) == 2 and row["mfu"] > 0 and row["memory_gib"] > 0 for row in result["rows"])
    assert set(result["ratios"]) == {"lightning_tax", "loader"}
    printed = capfd.readouterr().out
    assert "strategy=single" in printed and f"loader {result['ratios']['loader']:.3f}" in printed


def test_every_strategy_is_measured_and_compiled_where_it_can_be(tmp_path: Path, monkeypatch, capsys) -> None:
    jobs: list[dict[str, Any]] = []

    def run_ranks(arguments: list[str], processes: int, command: tuple[str, ...]) -> None:
        job = read_json(arguments[0])
        jobs.append(
            {
                "stage": job["config"]["strategy"].get("stage"),
                "compiled": job["options"]["compiled"],
                "processes": processes,
            }
        )
        write_json(job["out"], {})

    monkeypatch.setattr(train, "run_ranks", run_ranks)
    monkeypatch.setattr(train, "print_tables", lambda result: None)
    out = str(tmp_path / "bench.json")
    assert cli.main(["bench", "train", "--strategies", "all", "--compile", "--out", out, *TINY, "data.path=d"]) == 0
    assert [(job["stage"], job["compiled"], job["processes"]) for job in jobs] == [
        (None, True, 1), (None, True, 2), (1, True, 2), (2, True, 2), (3, False, 2),
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "strategy=deepspeed_3 in 2 processes, not compiled" in said and said.count("not compiled") == 1


def test_a_rank_can_be_stopped(tmp_path: Path, monkeypatch) -> None:
    held_up: set[int] = set()

    def measure(config: dict[str, Any], options: train.Options) -> dict[str, Any]:
        held_up.update(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return {}

    monkeypatch.setattr(train, "measure", measure)
    write_json(tmp_path / "job.json", {"config": {}, "options": {}, "out": str(tmp_path / "result.json")})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as a rank begins
    try:
        train.run_rank(tmp_path / "job.json")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert signal.SIGTERM not in held_up and (tmp_path / "result.json").exists()


def test_an_unknown_option_is_named(capsys) -> None:
    assert cli.main(["bench", "train", "--fast"]) == 1
    assert "unknown option --fast" in capsys.readouterr().err
