"""The script for a machine with a GPU, tried without one: what it leaves, also where a part fails or is too slow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from moda.bench.gpu.__main__ import PARTS, main
from moda.bench.gpu.largest import Search, repeated, search_largest
from moda.bench.gpu.report import write_pages
from moda.bench.gpu.results import Results
from moda.bench.gpu.resume import differences
from moda.files import read_json

SCRIPT = Path(__file__).parent / "gpu.sh"


def start(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(SCRIPT), "--device", "cpu", "--quick", *arguments, str(out)]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.mark.slow
def test_each_part_leaves_its_result_whatever_another_does(tmp_path: Path) -> None:
    """A part that is unknown fails, one gets no time; those before and after them are on both pages."""
    parts = "environment,nonsense,zero,sampling"
    ample = ("--limit", "environment=200", "--limit", "sampling=200")  # whatever else this machine does
    process = start(tmp_path / "out", "--parts", parts, "--limit", "zero=1", *ample)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gpu.json", "gpu.log", "gpu.md"]
    found = read_json(tmp_path / "out/gpu.json")["parts"]
    states = {name: part["state"] for name, part in found.items()}
    assert states == {"environment": "done", "nonsense": "failed", "zero": "stopped", "sampling": "done"}, said
    assert "nonsense" in found["nonsense"]["reason"] and found["zero"]["reason"] == "stopped at its limit of 1 s"
    assert found["environment"]["facts"]["cpu_count"] and found["environment"]["rows"][0]["tflops"] > 0
    assert found["sampling"]["rows"][0]["real_time_factor"] > 0
    page = (tmp_path / "out/gpu.md").read_text()
    seconds = found["zero"]["seconds"]  # of a busy machine
    assert f"| zero | stopped | {seconds} | 1 | stopped at its limit of 1 s |" in page and "real time factor" in page


@pytest.mark.slow
def test_a_signal_ends_the_part_and_the_pages_are_written(tmp_path: Path) -> None:
    process = start(tmp_path / "out", "--parts", "environment,sampling")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("--- environment"):
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    found = read_json(tmp_path / "out/gpu.json")["parts"]
    assert found["environment"]["state"] == "failed", said
    assert found["sampling"] == found["sampling"] | {
        "state": "skipped",
        "reason": "a signal, SIGTERM, had ended the run",
    }


def left(folder: Path, part: str, status: str, value: str = "", log: str = "") -> None:
    (folder / "parts").mkdir(exist_ok=True)
    (folder / f"parts/{part}.log").write_text(log)
    if value:
        (folder / f"parts/{part}.json").write_text(value)
    (folder / f"parts/{part}.status").write_text(status)


def test_pages_name_what_failed_and_keep_what_it_had_found(tmp_path: Path) -> None:
    results = Results(tmp_path / "train.json")
    with results.attempt("batch 64"):
        results.row(way="bare", ms_a_step=12.345678, mfu=float("nan"), compiled=True)
        raise ValueError("no\nsuch kernel")
    left(tmp_path, "train", "1 30 60", (tmp_path / "train.json").read_text(), "a traceback")
    left(tmp_path, "codec", "137 61 60", '{"facts": {"size": 3}}')
    left(tmp_path, "zero", "1 2 60", '{"facts": {', "Traceback\nImportError: no module named x\n")
    left(tmp_path, "nccl", "0 2 60", '{"facts": {"skipped": "one device"}}')
    write_pages(tmp_path, tmp_path)
    parts = read_json(tmp_path / "gpu.json")["parts"]
    reasons = {name: (part["state"], part["reason"]) for name, part in parts.items()}
    assert reasons == {
        "train": ("failed", "batch 64: ValueError: such kernel"),
        "codec": ("stopped", "stopped at its limit of 60 s"),
        "zero": ("failed", "status 1: ImportError: no module named x"),
        "nccl": ("skipped", "one device"),
    }
    page = (tmp_path / "gpu.md").read_text()
    assert "| bare | 12.35 | – | yes |" in page and "- size: 3" in page


def test_the_largest_batch_is_found_to_within_a_grain() -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= 435

    assert search_largest(fits, Search(128, 8192, 16, seconds=60)) == (432, 448)
    assert tried == [128, 256, 512, 384, 448, 416, 432]
    assert search_largest(lambda size: True, Search(2, 8, 1, seconds=60)) == (8, None)
    assert search_largest(lambda size: False, Search(2, 8, 1, seconds=60)) == (0, 1)


def test_a_batch_of_any_size_repeats_a_few_windows() -> None:
    batch: dict[str, Any] = {"motion": torch.tensor([1.0, 2.0]), "index": torch.tensor([7, 8]), "key": ["a", "b"]}
    larger = repeated(batch, 5)
    assert larger["motion"].tolist() == [1, 2, 1, 2, 1] and larger["key"] == ["a", "b", "a", "b", "a"]
    assert larger["index"].tolist() == [0, 1, 2, 3, 4]


def test_a_difference_names_where_it_begins_and_how_large_it_is() -> None:
    one = {"train/loss of step 1": 1.0, "weight a": torch.tensor([1.0, 2.0])}
    assert differences(one, {**one, "weight a": torch.tensor([1.0, 2.0])}) is None
    other = {**one, "weight a": torch.tensor([1.0, 2.5])}
    assert differences(one, other) == "1 of 2, first weight a; weights by up to 0.5"
    assert differences(one, {"weight a": one["weight a"]}) == "recorded by one alone: train/loss of step 1"


def test_every_part_has_a_limit_in_the_script(capsys) -> None:
    assert main(["list"]) == 0 and capsys.readouterr().out.split() == list(PARTS)
    text = SCRIPT.read_text()
    assert all(f"[{part}]=" in text for part in PARTS)
