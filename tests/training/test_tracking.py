from pathlib import Path
from typing import Any

import pytest

from moda.errors import UserError
from moda.training import tracking


def offline(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_without_an_account_wandb_is_offline_and_keeps_its_id(tmp_path: Path, monkeypatch) -> None:
    import wandb

    offline(monkeypatch, tmp_path)
    logger: Any = tracking.wandb(run_dir=tmp_path, name="test", step=0)[0]
    logger.log_metrics({"train/loss": 1.0}, step=0)
    first = logger.experiment.id
    wandb.finish()
    assert (tmp_path / tracking.WANDB_ID).read_text().strip() == first
    again: Any = tracking.wandb(run_dir=tmp_path, name="test", step=5)[0]
    assert again.experiment.id == first
    wandb.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_a_wandb_that_cannot_start_is_one_line_and_no_error(tmp_path: Path, monkeypatch, capsys) -> None:
    import wandb

    def fail(*_, **__):
        raise RuntimeError("first line\nno service could be started")

    offline(monkeypatch, tmp_path)
    monkeypatch.setattr(wandb, "init", fail)
    assert tracking.wandb(run_dir=tmp_path, name="test", step=0) == []
    said = capsys.readouterr().out
    assert said == "W&B cannot start (no service could be started); training goes on with metrics.jsonl alone\n"


def test_an_api_key_makes_wandb_online(monkeypatch, tmp_path: Path) -> None:
    offline(monkeypatch, tmp_path)
    assert not tracking._has_account()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert tracking._has_account()


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logger.mode=sometimes"):
        tracking.wandb(run_dir=tmp_path, name="test", step=0, mode="sometimes")


def test_tensorboard_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        tracking.tensorboard(run_dir=tmp_path, name="test", step=0)


def test_the_csv_of_a_resumed_run_keeps_the_former_one(tmp_path: Path) -> None:
    for step in (0, 5):
        (logger,) = tracking.csv(run_dir=tmp_path, name="test", step=step)
        logger.log_metrics({"loss": 1.0}, step=step)
        logger.save()
    assert sorted(path.parent.name for path in tmp_path.glob("csv/*/metrics.csv")) == ["from-step-0", "from-step-5"]
