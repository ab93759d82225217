import json
import subprocess
import sys
from pathlib import Path

import pytest
from training_support import small_overrides

from moda.errors import UserError
from moda.training.sweep import Sweep, Trial, expand, split_overrides, table, write_table


def test_the_grid_is_every_combination_in_hydras_syntax(tmp_path: Path) -> None:
    trials = expand(["task=dit", "optimizer.lr=1e-3,3e-4", "seed=range(1,3)", "+trainer.x=choice(a,b)"], tmp_path)
    assert [tuple(trial.axes.values()) for trial in trials] == [
        (lr, seed, x) for lr in ("0.001", "0.0003") for seed in ("1", "2") for x in ("a", "b")
    ]
    assert trials[0].overrides == ("task=dit", "optimizer.lr=0.001", "seed=1", "+trainer.x=a")
    assert len({trial.run_dir for trial in trials}) == 8


def test_a_list_is_one_value(tmp_path: Path) -> None:
    (trial,) = expand(["optimizer.betas=[0.9,0.95]"], tmp_path)
    assert trial.overrides == ("optimizer.betas=[0.9,0.95]",) and trial.axes == {}


def test_a_wider_grid_finds_the_trials_it_shares(tmp_path: Path) -> None:
    narrow = {trial.run_dir for trial in expand(["task=dit", "seed=1,2"], tmp_path)}
    assert narrow < {trial.run_dir for trial in expand(["seed=3,1,2", "task=dit"], tmp_path)}


def test_own_settings_are_told_from_those_of_the_trials() -> None:
    own, rest = split_overrides(["task=dit", "sweep.name=x", "seed=1,2", "sweep.jobs=2", "--cfg=job"])
    assert own == ["sweep.name=x", "sweep.jobs=2", "--cfg=job"] and rest == ["task=dit", "seed=1,2"]


def test_what_a_sweep_gives_each_trial_cannot_be_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run_dir cannot be set in a sweep"):
        expand(["run_dir=here"], tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        expand(["seed=choice(1,"], tmp_path)


def test_the_table_lists_settings_and_final_numbers(tmp_path: Path) -> None:
    trials = expand(["seed=1,2"], tmp_path)
    trials[0].run_dir.mkdir()
    (trials[0].run_dir / "metrics.jsonl").write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2.5}\n')
    header, rows = table(trials)
    assert header == ["trial", "seed", "step", "loss"]
    assert rows == [[trials[0].name, "1", "2", "2.5"], [trials[1].name, "2", "", ""]]
    write_table(tmp_path, header, rows)
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "trial,seed,step,loss"
    assert (tmp_path / "table.md").read_text().splitlines()[2] == f"| {trials[0].name} | 1 | 2 | 2.5 |"


@pytest.mark.slow
def test_a_sweep_skips_what_is_finished_and_names_and_retries_what_failed(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "s"
    fixed = [text for text in small_overrides("motion_vae", tiny_dataset) if not text.startswith("data.window")]
    swept = [*fixed, "data.window=16,18"]  # 18 is no multiple of the stride
    own = [f"sweep.dir={directory}", "sweep.name=test", "sweep.jobs=2"]
    command = [sys.executable, "-m", "moda.cli.main", "sweep", *own, *swept]
    first = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert first.returncode == 1
    assert "data.window=18 must be a multiple" in first.stdout
    assert "1 of 2 trials failed: trial-" in first.stderr and len(first.stderr.strip().splitlines()) == 1
    rows = (directory / "table.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("trial,data.window,step")

    trials = expand(swept, directory)
    again: list[Trial] = []
    monkeypatch.setattr(Sweep, "_run_trial", lambda self, trial: again.append(trial) or 0)
    assert Sweep(directory, trials, jobs=1).run() == []
    assert again == [trials[1]]
    states = json.loads((directory / "manifest.json").read_text())["trials"]
    assert [states[trial.name]["status"] for trial in trials] == ["done", "done"]
