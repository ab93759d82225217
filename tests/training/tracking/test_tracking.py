"""Trackers: the real libraries, offline."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from wandb_records import config, history

from moda.errors import UserError
from moda.training.tracking import trackers as tracking
from moda.training.tracking import wandb_tracker
from moda.training.tracking.facts import RunStart
from moda.training.tracking.metrics import MetricsFile, rewind
from moda.training.tracking.wandb_tracker import STATE_NAME, WandbTracker, resolve_mode

KEY = "c0ffee" * 7  # as long as an API key


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A user without an account, in an environment that says nothing about W&B."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    wandb.teardown()  # it reads the environment once


def start(run_dir: Path, step: int = 0) -> RunStart:
    from types import SimpleNamespace

    settings = {"seed": 3, "data": {"path": "data"}, "trainer": {"max_steps": 9}}
    return RunStart(run_dir, "test", step, settings, SimpleNamespace(fingerprint="data-hash"), 1)


def train(run_dir: Path, first: int, last: int) -> None:
    """Record the steps after ``first`` as a training that starts there would."""
    beginning = start(run_dir, first)
    metrics = MetricsFile(run_dir / "metrics.jsonl")
    loggers: list[Any] = [*tracking.wandb(beginning, mode="offline"), metrics]
    rewind(metrics.path, first)
    for logger in loggers:
        logger.log_event("start", first, beginning.facts)
    for step in range(first, last):
        for logger in loggers:
            logger.log_metrics({"train/loss": 10.0 - step, "epoch": 0}, step)
    for logger in loggers:
        logger.finalize("success")


def test_a_run_that_is_resumed_twice_is_one_run_whose_steps_never_go_back(nobody, tmp_path: Path) -> None:
    nobody.setenv("WANDB_API_KEY", KEY)
    train(tmp_path, 0, 5)  # killed at 5, the last checkpoint is of 3
    train(tmp_path, 3, 4)  # killed again before it came to anything new
    train(tmp_path, 3, 8)
    rows = history(tmp_path)
    steps = [row["trainer/global_step"] for row in rows]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row["train/loss"] for row in rows] == [10.0 - step for step in range(8)]
    ids = {path.name.split("-")[3] for path in (tmp_path / "wandb").glob("offline-run-*")}
    assert len(ids) == 1 and ids.pop() in (tmp_path / STATE_NAME).read_text()
    settings = config(tmp_path)
    assert settings["seed"] == 3 and settings["dataset"]["fingerprint"] == "data-hash"
    assert settings["git"]["commit"] and settings["environment"]["packages"]["torch"]
    for folder, _, names in os.walk(tmp_path):  # the key is nobody else's
        for name in names:
            assert KEY.encode() not in (Path(folder) / name).read_bytes(), name


def test_online_the_second_start_asks_the_server_for_the_run_of_the_first(nobody, tmp_path: Path) -> None:
    """What W&B is asked, and what it is sent: there is no server here."""
    asked: list[dict[str, Any]] = []
    sent: list[int] = []

    class Run:
        id = "given"

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

        def log(self, values: dict[str, Any]) -> None:
            sent.append(values["trainer/global_step"])

    def init(**settings: Any) -> Run:
        asked.append(settings)
        assert settings["id"] in (tmp_path / STATE_NAME).read_text()  # fixed before the server is asked
        return Run()

    nobody.setattr(wandb, "init", init)
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for first, last in ((0, 5), (3, 7)):
        (tracker,) = tracking.wandb(start(tmp_path, first), mode="online")
        for step in range(first, last):
            tracker.log_metrics({"train/loss": 1.0}, step)
            metrics.log_metrics({"train/loss": 1.0}, step)
    assert len({settings["id"] for settings in asked}) == 1
    assert [(settings["mode"], settings["resume"]) for settings in asked] == [("online", "allow")] * 2
    assert sent == [1, 2, 3, 4, 5, 6, 7]


def test_previews_are_media_on_the_axis_of_updates(nobody, tmp_path: Path) -> None:
    from moda.generation.video import VideoWriter

    curves, video = tmp_path / "curves.png", tmp_path / "ann_000.mp4"
    _picture(curves)
    with VideoWriter(video, 64, audio=np.zeros(16_000, np.float32)) as writer:
        for _ in range(25):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    (tracker,) = tracking.wandb(start(tmp_path), mode="offline")
    tracker.log_previews({"curves": curves, "ann_000": video}, 4)
    tracker.finalize("success")
    (row,) = history(tmp_path)
    assert row["trainer/global_step"] == 4
    assert {row[f"preview/{name}/_type"] for name in ("curves", "ann_000")} == {"image-file", "video-file"}
    (sent,) = tmp_path.glob("wandb/offline-run-*/files/media/videos/preview/*.mp4")
    assert sent.read_bytes() == video.read_bytes()


def test_a_dead_network_costs_a_while_and_one_line_and_the_run_is_kept_offline(nobody, tmp_path: Path, capsys) -> None:
    nobody.setenv("WANDB_API_KEY", KEY)
    nobody.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    nobody.setattr(wandb_tracker, "INIT_TIMEOUT", 2)
    (tracker,) = tracking.wandb(start(tmp_path), mode="online")
    tracker.log_metrics({"train/loss": 1.0}, 0)
    tracker.finalize("success")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "W&B cannot start online" in said[0] and "recorded offline" in said[0]
    assert [row["train/loss"] for row in history(tmp_path)] == [1.0]


def test_a_wandb_that_fails_later_is_one_line_and_no_error(nobody, tmp_path: Path, capsys) -> None:
    (tracker,) = tracking.wandb(start(tmp_path), mode="offline")

    assert isinstance(tracker, WandbTracker)

    def fail(*_: Any) -> None:
        raise RuntimeError("first line\nthe service is gone")

    nobody.setattr(tracker.run, "log", fail)
    for step in range(3):
        tracker.log_metrics({"train/loss": 1.0}, step)
    assert capsys.readouterr().out.count("the service is gone") == 1
    tracker.run.finish()


def test_a_wandb_that_cannot_start_at_all_leaves_the_training_alone(nobody, tmp_path: Path, capsys) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no service could be started")

    nobody.setattr(wandb, "init", fail)
    assert tracking.wandb(start(tmp_path), mode="online") == []
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[1].endswith("training goes on with metrics.jsonl alone")


def test_auto_asks_the_environment_and_then_the_account(nobody, tmp_path: Path) -> None:
    assert resolve_mode("auto") == "offline"
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert resolve_mode("auto") == "online"
    (tmp_path / ".netrc").unlink()
    nobody.setenv("WANDB_API_KEY", KEY)
    assert resolve_mode("auto") == "online" and resolve_mode("offline") == "offline"
    for mode in ("offline", "disabled"):
        nobody.setenv("WANDB_MODE", mode)
        assert resolve_mode("auto") == mode and resolve_mode("online") == "online"
    with pytest.raises(UserError, match="logger.mode=sometimes"):
        tracking.wandb(start(tmp_path), mode="sometimes")


def test_disabled_writes_nothing(nobody, tmp_path: Path) -> None:
    assert tracking.wandb(start(tmp_path), mode="disabled") == []
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_holds_the_same_numbers_facts_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = tmp_path / "curves.png"
    _picture(curves)
    for first, last in ((0, 5), (3, 6)):  # the second start resumes from step 3
        (logger,) = tracking.tensorboard(start(tmp_path, first))
        logger.log_event("start", first, start(tmp_path, first).facts)
        for step in range(first, last):
            logger.log_metrics({"train/loss": 10.0 - step, "epoch": 0}, step)
        logger.log_previews({"curves": curves}, last)
        logger.finalize("success")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert "preview/curves" in events.Tags()["images"]
    assert b"data-hash" in events.Tensors("start/text_summary")[0].tensor_proto.string_val[0]


def test_tensorboard_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'moda\[tensorboard\]'"):
        tracking.tensorboard(start(tmp_path))


def test_the_csv_of_a_resumed_run_keeps_the_former_one(tmp_path: Path) -> None:
    for step in (0, 5):
        (logger,) = tracking.csv(start(tmp_path, step))
        logger.log_metrics({"loss": 1.0, "epoch": 0}, step)
        logger.save()
    tables = sorted(tmp_path.glob("csv/*/metrics.csv"))
    assert [path.parent.name for path in tables] == ["from-step-0", "from-step-5"]
    assert tables[1].read_text().split() == ["loss,step", "1.0,6"]


def test_several_trackers_at_once(nobody, tmp_path: Path) -> None:
    from moda.build import build

    spec = {
        "_target_": "moda.training.tracking.trackers.several",
        "_recursive_": False,
        "trackers": [
            {"_target_": "moda.training.tracking.trackers.csv"},
            {"_target_": "moda.training.tracking.trackers.tensorboard"},
        ],
    }
    pytest.importorskip("tensorboard")
    loggers = build({**spec, "_partial_": True})(start(tmp_path))
    assert [type(logger).__name__ for logger in loggers] == ["Table", "Board"]


def _picture(path: Path) -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(path, dpi=32)
