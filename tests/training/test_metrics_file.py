from pathlib import Path

import pytest

from moda.errors import UserError
from moda.training.metrics import MetricsFile, last_metrics, read_metrics, rewind


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


def test_a_loss_that_is_not_a_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train/loss is nan at step 5.*optimizer.lr"):
        MetricsFile(tmp_path / "metrics.jsonl").log_metrics({"train/loss": float("nan")}, 4)
