import json
import math
from pathlib import Path

import pytest

from moda.errors import UserError
from moda.training.tracking.metrics import MetricsFile, last_metrics, last_step, read_events, read_metrics, rewind


def test_lines_are_appended_with_the_updates_done(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path).log_metrics({"loss": 2.0, "epoch": 0}, step=0)
    MetricsFile(path).log_metrics({"loss": 1.0, "lr": 0.1}, step=9)
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}, {"step": 10, "loss": 1.0, "lr": 0.1}]
    assert last_metrics(path) == {"step": 10, "loss": 1.0, "lr": 0.1}


def test_resuming_drops_what_comes_after_the_checkpoint_and_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in range(5):
        metrics.log_metrics({"loss": float(step)}, step)
    with open(path, "a") as file:
        file.write('{"step": 3, "lo')
    rewind(path, 3)
    metrics.log_metrics({"loss": 7.0}, 3)
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3, 4]
    assert read_metrics(path)[-1]["loss"] == 7.0


def test_a_number_that_is_not_finite_is_null_and_read_as_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path).log_metrics({"train/loss": float("nan"), "lr": 0.1}, 4)
    assert json.loads(path.read_text()) == {"step": 5, "train/loss": None, "lr": 0.1}
    (line,) = read_metrics(path)
    assert math.isnan(line["train/loss"])


def test_events_are_kept_apart_from_numbers_and_rewound_with_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.log_event("start", 0, {"seed": 1})
    metrics.log_metrics({"loss": 1.0}, 0)
    metrics.log_previews({"curves": tmp_path / "previews/step-2.png"}, 2)
    assert last_step(path) == 2 and [line["step"] for line in read_metrics(path)] == [1]
    assert read_events(path, "preview") == [{"step": 2, "event": "preview", "files": {"curves": "previews/step-2.png"}}]
    rewind(path, 1)
    assert read_events(path, "preview") == [] and len(read_events(path, "start")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device; free space"):
        MetricsFile("/dev/full").log_metrics({"loss": 1.0}, 0)
