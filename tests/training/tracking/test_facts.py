import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

from moda.training.tracking.facts import RunStart, git_state
from moda.training.tracking.metrics import MetricsFile, read_events, read_metrics


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "__init__.py").write_text("a = 1\n")
    git(tmp_path, "add", "__init__.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    state = git_state(tmp_path)
    assert state["commit"] == git(tmp_path, "rev-parse", "HEAD") and state["dirty"] is False
    (tmp_path / "__init__.py").write_text("a = 2\n")
    assert git_state(tmp_path)["dirty"] is True


def test_outside_a_repository_the_commit_is_unknown_with_the_reason(tmp_path: Path) -> None:
    state = git_state(tmp_path)
    assert state["commit"] == "unknown" and state["reason"] and state["version"]


def test_a_package_installed_inside_another_repository_is_not_that_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    package = tmp_path / "environment"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert git_state(package)["commit"] == "unknown"


def test_the_start_is_a_line_of_metrics_jsonl(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    config = {"seed": 1, "data": {"path": "somewhere"}}
    start = RunStart(tmp_path, "name", 4, config, SimpleNamespace(fingerprint="abc"), world_size=2)
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.log_event("start", start.step, start.facts)
    metrics.log_metrics({"train/loss": 1.0}, 4)
    (line,) = read_events(metrics.path, "start")
    assert line["step"] == 4 and line["config"] == config and line["dataset"]["fingerprint"] == "abc"
    assert line["environment"]["world_size"] == 2 and line["environment"]["slurm"] == {"job_id": "123"}
    assert "torch" in line["environment"]["packages"] and "secret" not in json.dumps(line)
    assert read_metrics(metrics.path) == [{"step": 5, "train/loss": 1.0}]
