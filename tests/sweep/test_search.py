"""Search by the real Optuna, with its journal in the sweep's folder."""

import json
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from training_support import small_overrides

from moda.cli import sweep as cli
from moda.cli.main import main
from moda.errors import UserError
from moda.sweep.ledger import Ledger, Status
from moda.sweep.pruning import pruned
from moda.sweep.search import Search, SearchSettings

pytest.importorskip("optuna")

SETTINGS = SearchSettings(
    trials=6, metric="loss", direction="minimize", value="last", sampler="tpe", seed=0, pruner="none"
)
SPACE = ("task=dit", "optimizer.lr=tag(log,interval(1e-5,1e-2))", "seed=int(interval(1,4))")


def record(directory: Path, status: Status, *values: float) -> None:
    run = directory / status.name
    (run / "export").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "loss": value}) for step, value in enumerate(values, 1)]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def entered(directory: Path, *space: str, **settings: object) -> tuple[Ledger, Search]:
    ledger = Ledger(directory)
    search = Search(directory, space or SPACE, replace(SETTINGS, **settings))
    search.enter(ledger)
    return ledger, search


def test_settings_are_proposed_within_their_ranges(tmp_path: Path) -> None:
    space = ("a=interval(0.5,2)", "b=tag(log,interval(1e-5,1e-2))", "+c=int(interval(1,4))", "d=range(0,9,3)",
             "e=choice(x,'y z')", "f=adam,sgd", "g=[1,2]")  # fmt: skip
    ledger, search = entered(tmp_path, *space)
    for index in range(6):
        axes = ledger.begin(index, search).axes
        assert 0.5 <= float(axes["a"]) <= 2 and 1e-5 <= float(axes["b"]) <= 1e-2
        assert int(axes["c"]) in range(1, 5) and axes["d"] in ("0", "3", "6") and axes["f"] in ("adam", "sgd")
        assert axes["e"] in ("x", r"y\ z")
    overrides = ledger.status(0).overrides
    assert overrides[2].startswith("+c=") and overrides[-1] == "g=[1,2]" and "g" not in ledger.status(0).axes
    assert len({ledger.status(index).name for index in range(6)}) == 6


@pytest.mark.parametrize(
    "space, reason",
    [
        (["task=dit"], "nothing to search"),
        (["a=glob(x*)"], "cannot be searched"),
        (["a=tag(cubic,interval(1,2))"], "tag cubic is not known"),
        (["a=interval(2,1)"], "goes up"),
        (["a=tag(log,interval(0,1))"], "begins above 0"),
        (["name=a,b"], "name cannot be set"),
    ],
)
def test_ranges_that_cannot_be_searched_are_refused(space: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        Search(tmp_path, space, SETTINGS)


@pytest.mark.parametrize(
    "name, value",
    [("trials", 0), ("direction", "down"), ("value", "mean"), ("sampler", "grid"), ("pruner", "yes")],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"sweep.optuna.{name}={value}"):
        replace(SETTINGS, **{name: value})


def test_what_was_reached_is_told_and_remembered(tmp_path: Path) -> None:
    ledger, search = entered(tmp_path)
    for index, values in enumerate([(3.0, 1.0, 2.0), (0.5,)]):
        record(tmp_path, ledger.begin(index, search), *values)
        assert ledger.end(index, 0, search).value == values[-1]
    study = search.study("test")
    assert [trial.value for trial in study.trials] == [2.0, 0.5] and study.best_trial.number == 1
    best = replace(SETTINGS, value="best")
    assert Search(tmp_path, SPACE, best).reached(tmp_path / ledger.status(0).name) == 1.0
    most = replace(best, direction="maximize")
    assert Search(tmp_path, SPACE, most).reached(tmp_path / ledger.status(0).name) == 3.0


def test_a_trial_without_the_metric_has_failed(tmp_path: Path) -> None:
    ledger, search = entered(tmp_path)
    ledger.begin(0, search)
    ended = ledger.end(0, 0, search)
    assert ended.state == "failed" and "loss was not recorded" in ended.reason
    assert search.study("test").trials[0].state.name == "FAIL"


def test_a_stopped_or_lost_trial_keeps_its_settings_and_a_failed_one_gets_others(tmp_path: Path) -> None:
    ledger, search = entered(tmp_path)
    first = ledger.begin(0, search)
    lost = ledger.begin(0, search)  # its worker died without a word
    ledger.end(0, 85, search)
    stopped = ledger.begin(0, search)
    assert first.overrides == lost.overrides == stopped.overrides and stopped.starts == 3
    ledger.end(0, 1, search)
    other = ledger.begin(0, search)
    assert other.overrides != first.overrides and other.number == 1
    assert [trial.state.name for trial in search.study("test").trials] == ["FAIL", "RUNNING"]


def test_a_worker_that_dies_between_telling_and_writing_has_told(tmp_path: Path) -> None:
    ledger, search = entered(tmp_path)
    record(tmp_path, ledger.begin(0, search), 1.0)
    search.end(replace(ledger.status(0), state="done"))
    assert ledger.status(0).state == "running"
    assert ledger.begin(0, search).state == "done" and len(search.study("test").trials) == 1


def test_a_search_goes_on_with_more_trials_but_not_with_other_ranges(tmp_path: Path) -> None:
    entered(tmp_path)
    assert len(entered(tmp_path, trials=9)[1]) == 9
    assert len(entered(tmp_path, trials=3)[1]) == 9
    with pytest.raises(UserError, match="searches other settings .*seed=3"):
        entered(tmp_path, "task=dit", "optimizer.lr=interval(1,2)", "seed=3")
    with pytest.raises(UserError, match="sweep.optuna.metric=loss, not val/loss"):
        entered(tmp_path, metric="val/loss")
    with pytest.raises(UserError, match="is a search; give the grid another"):
        cli.main([f"sweep.dir={tmp_path}", "sweep.name=s", "seed=1,2"])


def _work(directory: Path, indices: list[int]) -> None:
    ledger = Ledger(directory)
    search = Search(directory, SPACE, replace(SETTINGS, trials=12))
    for index in indices:
        status = ledger.begin(index, search)
        rate = float(status.axes["optimizer.lr"])
        record(directory, status, (rate - 1e-3) ** 2)
        ledger.end(index, 0, search)


def test_many_workers_share_one_study(tmp_path: Path) -> None:
    entered(tmp_path, trials=12)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(tmp_path, [first, first + 1, first + 2])) for first in (0, 3, 6, 9)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    ledger = Ledger(tmp_path)
    statuses = [ledger.status(index) for index in range(12)]
    assert sorted(status.number for status in statuses) == list(range(12))
    assert {status.state for status in statuses} == {"done"}
    assert len({status.axes["optimizer.lr"] for status in statuses}) == 12
    told = {trial.number: trial.value for trial in Search(tmp_path, SPACE, SETTINGS).study("test").trials}
    assert told == {status.number: status.value for status in statuses}


def test_a_trial_that_does_worse_than_others_is_asked_to_stop(tmp_path: Path, monkeypatch) -> None:
    ledger, search = entered(tmp_path, pruner="median", trials=8)
    stopped: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: stopped.append(pid))
    for index in range(7):
        status = ledger.begin(index, search)
        record(tmp_path, status, *([10.0, 10.0] if index == 6 else [1.0, 0.5]))
        with pruned(search, status, tmp_path / status.name, every=0.01):
            wait_for_reports(search, index)
        if index < 6:
            assert ledger.end(index, 0, search).state == "done" and not stopped
    assert stopped == [os.getpid()]
    ended = ledger.end(6, 85, search)
    assert (ended.state, ended.returncode) == ("pruned", 0) and ledger.is_finished(6)
    assert search.study("test").trials[6].state.name == "PRUNED"


def wait_for_reports(search: Search, index: int) -> None:
    for _ in range(500):
        trial = search.study("test").trials[index]
        if len(trial.intermediate_values) == 2 and (index < 6 or trial.user_attrs):
            return
        time.sleep(0.01)
    raise AssertionError("nothing was reported")


def test_without_optuna_the_user_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install 'moda.sweep.'"):
        entered(tmp_path)


@pytest.mark.slow
def test_a_search_trains_its_trials_and_names_the_best(tiny_dataset: Path, tmp_path: Path, capsys) -> None:
    command = [
        "sweep", f"sweep.dir={tmp_path}", "sweep.name=s", "sweep.search=optuna", "sweep.optuna.trials=2", "sweep.jobs=2",
        *small_overrides("motion_vae", tiny_dataset, "optimizer.lr=tag(log,interval(1e-4,1e-2))"),
    ]  # fmt: skip
    assert main(command) == 0
    out = capsys.readouterr().out
    statuses = [Ledger(tmp_path).status(index) for index in (0, 1)]
    best = min(statuses, key=lambda status: status.value or 0.0)
    assert f"best: {best.name} with val/loss" in out and f"optimizer.lr={best.axes['optimizer.lr']}" in out
    assert main(command) == 0
    assert "2 trials, 2 already done" in capsys.readouterr().out
