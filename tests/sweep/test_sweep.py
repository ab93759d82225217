import json
import subprocess
import sys
from pathlib import Path

import pytest
from training_support import small_overrides

from moda.cli import sweep as cli
from moda.cli.main import main
from moda.errors import UserError
from moda.slurm import queue
from moda.sweep.array import ranges
from moda.sweep.ledger import Grid, Ledger
from moda.sweep.table import table, write_table
from moda.sweep.trials import expand


def test_the_grid_is_every_combination_in_hydras_syntax() -> None:
    trials = expand(["task=dit", "optimizer.lr=1e-3,3e-4", "seed=range(1,3)", "+trainer.x=choice(a,b)"])
    assert [tuple(trial.axes.values()) for trial in trials] == [
        (lr, seed, x) for lr in ("0.001", "0.0003") for seed in ("1", "2") for x in ("a", "b")
    ]
    assert trials[0].overrides == ("task=dit", "optimizer.lr=0.001", "seed=1", "+trainer.x=a")
    assert len({trial.name for trial in trials}) == 8


def test_a_list_is_one_value() -> None:
    (trial,) = expand(["optimizer.betas=[0.9,0.95]"])
    assert trial.overrides == ("optimizer.betas=[0.9,0.95]",) and trial.axes == {}


def test_a_wider_grid_finds_the_trials_it_shares_at_their_places(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    narrow, wide = expand(["task=dit", "seed=1,2"]), expand(["seed=3,1,2", "task=dit"])
    assert {trial.name for trial in narrow} < {trial.name for trial in wide}
    assert Grid(narrow).enter(ledger) == [0, 1]
    assert Grid(wide).enter(ledger) == [2, 0, 1]
    manifest = ledger.manifest()
    assert manifest is not None
    assert [trial.axes["seed"] for trial in Grid.read(manifest).trials] == ["1", "2", "3"]


def test_own_settings_are_told_from_those_of_the_trials() -> None:
    own, rest = cli.split_overrides(
        ["task=dit", "sweep.name=x", "seed=1,2", "slurm.nodes=2", "slurm.env.A=1", "--cfg=job"]
    )
    assert own == ["sweep.name=x", "slurm.nodes=2", "++slurm.env.A='1'", "--cfg=job"] and rest == [
        "task=dit",
        "seed=1,2",
    ]


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["run_dir=here"], "run_dir cannot be set in a sweep"),
        (["seed=choice(1,"], "cannot read"),
        (["seed=interval(1,2)"], "interval.* needs sweep.search=optuna"),
        (["sweep.jobs=0", "seed=1,2"], "sweep.jobs=0: must be at least 1"),
        (["sweep.launcher=ssh", "seed=1"], "sweep.launcher=ssh: must be one of local, slurm"),
        (["sweep.optuna.trials=3", "seed=1,2"], "does nothing without sweep.search=optuna"),
        (["slurm.nodes=2", "seed=1,2"], "does nothing without sweep.launcher=slurm"),
        (["--dry-run", "seed=1,2"], "--dry-run does nothing without sweep.launcher=slurm"),
        (["seed=1,2", "--multirun"], "^--multirun: moda sweep makes the trials .*: moda train --multirun seed=1,2$"),
        (["-m", "task=dit", "seed=1,2"], "^-m: .*: moda train --multirun task=dit seed=1,2$"),
        (["sweep.collect=true"], "no settings to sweep"),
        (["sweep.collect=true", "seed=1,2"], "holds no sweep yet"),
        (["sweep.launcher=slurm", "slurm=cpu", "data.path=d", "trainer.accelerator=cpu,gpu"], "contradicts slurm.gpus"),
    ],
)
def test_what_makes_no_sweep_is_refused(arguments: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        cli.main([f"sweep.dir={tmp_path / 's'}", "sweep.name=s", *arguments])


def test_the_table_lists_settings_and_final_numbers(tmp_path: Path) -> None:
    ledger, grid = Ledger(tmp_path), Grid(expand(["seed=1,2"]))
    places = grid.enter(ledger)
    first = ledger.begin(0, grid)
    ledger.run_dir(first).mkdir()
    (ledger.run_dir(first) / "metrics.jsonl").write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2.5}\n')
    header, rows = table(ledger, [grid.known(ledger.status(index)) for index in places])
    assert header == ["trial", "seed", "state", "step", "loss"]
    names = [trial.name for trial in grid.trials]
    assert rows == [[names[0], "1", "running", "2", "2.5"], [names[1], "2", "new", "", ""]]
    write_table(tmp_path, header, rows)
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "trial,seed,state,step,loss"
    assert (tmp_path / "table.md").read_text().splitlines()[2] == f"| {names[0]} | 1 | running | 2 | 2.5 |"


def test_a_trial_is_tried_again_unless_it_is_done(tmp_path: Path) -> None:
    ledger, grid = Ledger(tmp_path), Grid(expand(["seed=1,2"]))
    grid.enter(ledger)
    for starts, (code, state) in enumerate([(1, "failed"), (85, "stopped"), (86, "stopped"), (-9, "failed")], 1):
        status = ledger.begin(0, grid)
        assert (status.state, status.starts) == ("running", starts)
        assert ledger.end(0, code, grid, "why").state == state and not ledger.is_finished(0)
    ledger.begin(0, grid)  # whose worker died without a word
    assert ledger.begin(0, grid).starts == 6
    assert ledger.end(0, 0, grid).state == "done"
    assert not ledger.is_finished(0)  # a status without a result
    (ledger.run_dir(ledger.status(0)) / "export").mkdir(parents=True)
    assert ledger.is_finished(0) and ledger.begin(0, grid).starts == 6
    assert ledger.end(0, 1, grid).state == "done"  # nothing was running
    with pytest.raises(UserError, match="has no trial 2: they count from 0 to 1"):
        ledger.begin(2, grid)


def test_one_launcher_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path).lock():
        assert Ledger(tmp_path).is_locked()
        with pytest.raises(UserError, match="another moda sweep runs"), Ledger(tmp_path).lock():
            pass
    assert not Ledger(tmp_path).is_locked()


def test_a_broken_status_or_manifest_is_named(tmp_path: Path) -> None:
    ledger, grid = Ledger(tmp_path), Grid(expand(["seed=1,2"]))
    (tmp_path / "manifest.json").write_text('{"trials": {}}')
    with pytest.raises(UserError, match="another version"):
        grid.enter(ledger)
    (tmp_path / "status").mkdir()
    (tmp_path / "status/0000.json").write_text('{"state": "done"}')
    with pytest.raises(UserError, match=r"0000\.json is not the status of a trial"):
        ledger.status(0)


def test_an_array_has_a_task_for_each_trial_that_is_not_done(tmp_path: Path, capsys, monkeypatch) -> None:
    assert ranges([7, 1, 2, 3, 9]) == "1-3,7,9"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(queue, "queued", lambda script: [])
    command = [
        "sweep", "sweep.name=s", "sweep.launcher=slurm", "slurm=cpu", "slurm.tasks_per_node=2", "sweep.jobs=3",
        "task=motion_vae", "data.path=d", "seed=1,2,3,4", "--dry-run",
    ]  # fmt: skip
    assert main(command) == 0
    text = (tmp_path / "sweeps/s/slurm/job.sbatch").read_text()
    assert "#SBATCH --array=0-3%3\n" in text and f"--output={tmp_path}/sweeps/s/slurm/%A_%a.log" in text
    assert "resources=(trainer.accelerator=cpu trainer.devices=2 trainer.num_nodes=1 strategy=ddp)" in text
    ledger = Ledger("sweeps/s")
    manifest = ledger.manifest()
    assert manifest is not None
    grid = Grid.read(manifest)
    (ledger.run_dir(ledger.begin(1, grid)) / "export").mkdir(parents=True)
    ledger.end(1, 0, grid)
    assert main(command) == 0
    assert "#SBATCH --array=0,2-3%3\n" in (tmp_path / "sweeps/s/slurm/job.sbatch").read_text()
    capsys.readouterr()
    assert main(["sweep", "sweep.name=s", "sweep.collect=true"]) == 0
    assert "3 new, 1 done" in capsys.readouterr().out


def test_a_sweep_whose_jobs_wait_in_the_queue_is_left_to_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "sweep.name=s", "task=dit", "data.path=d", "seed=1,2"]
    assert main([*command, "sweep.launcher=slurm", "--dry-run"]) == 0
    monkeypatch.setattr(queue, "queued", lambda script: ["12_1 (RUNNING)"] if script.parent.parent.name == "s" else [])
    with pytest.raises(UserError, match=r"sweep sweeps/s is in the queue already as job 12_1 \(RUNNING\)"):
        cli.main(command[1:])


def test_a_running_trial_that_nobody_runs_is_lost(tmp_path: Path, capsys) -> None:
    ledger, grid = Ledger(tmp_path), Grid(expand(["seed=1,2"]))
    grid.enter(ledger)
    ledger.begin(0, grid)
    with ledger.lock():
        cli.report(ledger, grid, [0, 1])
    cli.report(ledger, grid, [0, 1])
    out = capsys.readouterr().out
    assert out.index("1 running, 1 new") < out.index("1 lost, 1 new")


def test_beginning_and_ending_a_trial_needs_no_heavy_library(tmp_path: Path) -> None:
    Grid(expand(["seed=1,2"])).enter(Ledger(tmp_path))
    code = (
        f"import sys; from moda.cli.sweep_trial import main; main(['{tmp_path}', '1', 'begin']); "
        f"assert main(['{tmp_path}', '1', 'end', '85']) == 85; print({{'torch', 'lightning', 'optuna'}} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "set()" and Ledger(tmp_path).status(1).state == "stopped"


@pytest.mark.slow
def test_a_sweep_skips_what_is_finished_and_names_and_retries_what_failed(tiny_dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "a b, c"
    fixed = [text for text in small_overrides("motion_vae", tiny_dataset) if not text.startswith("data.window")]
    command = [sys.executable, "-m", "moda.cli.main", "sweep", f"sweep.dir='{directory}'", "sweep.name=test"]
    swept = [*fixed, "data.window=16,18"]  # 18 is no multiple of the stride
    first = subprocess.run([*command, "sweep.jobs=2", *swept], capture_output=True, text=True, timeout=900)
    assert first.returncode == 1
    assert "data.window=18 must be a multiple" in first.stdout
    assert "1 of 2 trials failed: trial-" in first.stderr and len(first.stderr.strip().splitlines()) == 1
    rows = (directory / "table.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("trial,data.window,state,step")

    again = subprocess.run([*command, *swept], capture_output=True, text=True, timeout=900)
    assert "2 trials, 1 already done" in again.stdout and again.returncode == 1
    statuses = [json.loads((directory / f"status/000{index}.json").read_text()) for index in (0, 1)]
    assert [(status["state"], status["starts"]) for status in statuses] == [("done", 1), ("failed", 2)]
