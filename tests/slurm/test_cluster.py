"""Trainings and sweeps on a real cluster of two nodes, given as a user gives them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import Cluster, wait_until
from training_support import small_overrides

from moda.cli.main import main
from moda.sweep.ledger import Ledger
from moda.training.lock import run_lock
from moda.training.tracking.metrics import read_metrics

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

CPU = ("slurm=cpu", "slurm.cpus_per_task=1", "slurm.env.OMP_NUM_THREADS=1", "slurm.wait=20")
LONG = ("trainer.max_steps=200", "trainer.val_check_interval=200", "checkpoint.every=1000", "optimizer.final_factor=1")

Submit = Callable[..., str]


@pytest.fixture
def submit(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Submit:
    """``submit("submit", ...)`` or ``submit("sweep", ...)``: the number of the job that ``moda`` has submitted."""
    monkeypatch.chdir(tmp_path)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        status = main(list(arguments))
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out.split("submitted job ")[1].split(":")[0]

    return run


def losses(run_dir: Path) -> dict[int, float]:
    lines = read_metrics(run_dir / "metrics.jsonl")
    return {int(line["step"]): line["train/loss"] for line in lines if "train/loss" in line}


def log_of(run_dir: Path, number: str) -> str:
    return (run_dir / f"slurm/{number}.log").read_text()


def trained_to(run_dir: Path, step: int) -> Callable[[], bool]:
    return lambda: max(losses(run_dir), default=0) >= step


def processes_with(text: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if text in command and int(process.name) != os.getpid():
            found.append(command)
    return found


def test_a_job_runs_in_a_folder_of_any_name_and_is_found_in_the_queue(
    slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    folder = tmp_path / "it's $(touch hit) #1, 50%|"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "999999999")  # of the job that one submits from; srun would ask for it
    job = ["submit", *CPU, "slurm.setup=['sleep 5']", "lint", str(tiny_dataset)]
    number = submit(*job)
    assert main(job) == 1
    assert f"in the queue already as job {number} (" in capsys.readouterr().err
    ended = slurm.wait(number)
    (log,) = (folder / "jobs").rglob("*.log")
    text = log.read_text()
    assert log.name == f"{number}.log" and ended["JobState"] == "COMPLETED", text
    assert not list(tmp_path.rglob("hit")) and "start 1 on" in text and "done" in text


@pytest.mark.parametrize("strategy", ["ddp", "deepspeed_2"])
def test_two_nodes_stop_on_a_signal_and_go_on_as_if_nothing_had_happened(
    strategy: str, slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path, capsys
) -> None:
    training = [*small_overrides("motion_vae", tiny_dataset, *LONG), f"strategy={strategy}"]
    whole = submit("submit", *CPU, "slurm.nodes=2", "train", *training, "name=whole")
    stopped = submit("submit", *CPU, "slurm.nodes=2", "train", *training, "name=stopped")
    assert main(["submit", *CPU, "slurm.nodes=2", "train", *training, "name=stopped"]) == 1
    assert f"in the queue already as job {stopped} (" in capsys.readouterr().err
    run = tmp_path / "runs/stopped"
    wait_until("the training is under way", trained_to(run, 5), 240)
    assert slurm.job(stopped)["NodeList"] == "127.0.0.[1-2]"
    slurm.run("scancel", "--signal=USR1", stopped)
    ended = slurm.wait(stopped)
    log = log_of(run, stopped)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log
    assert "requeued, restart 1 of 20" in log and "start 2 on 127.0.0.[1-2]" in log and log.count("resuming ") == 1
    assert slurm.wait(whole)["JobState"] == "COMPLETED", log_of(tmp_path / "runs/whole", whole)
    assert log_of(tmp_path / "runs/whole", whole).count("trained ") == 1
    assert losses(run) == losses(tmp_path / "runs/whole") and len(losses(run)) == 200


def test_a_run_that_is_trained_outside_of_the_queue_is_left_to_that_one(
    slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs/held"
    with run_lock(run):
        number = submit(
            "submit", *CPU, "slurm.nodes=2", "train", *small_overrides("motion_vae", tiny_dataset), "name=held"
        )
        ended = slurm.wait(number)
    log = log_of(run, number)
    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0"), log
    line = rf"moda train: error: \S+held is being trained already by process {os.getpid()} on \S+ since "
    assert len(re.findall(line, log)) == 1 and "Traceback" not in log, log
    assert not (run / "config.yaml").exists() and not processes_with(str(tiny_dataset))


def test_a_job_of_higher_priority_takes_the_nodes_and_the_training_comes_back(
    slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path
) -> None:
    training = small_overrides("motion_vae", tiny_dataset, *LONG, "name=low")
    low = submit("submit", *CPU, "slurm.cpus_per_task=4", "slurm.partition=debug", "train", *training)
    run = tmp_path / "runs/low"
    wait_until("the training is under way", trained_to(run, 5), 120)
    reached = max(losses(run))
    high = slurm.run("sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null",
                     "--wrap=sleep 1").strip()  # fmt: skip
    assert slurm.wait(high, 60)["JobState"] == "COMPLETED"
    ended = slurm.wait(low)
    log = log_of(run, low)
    assert ended["JobState"] == "COMPLETED" and int(ended["Restarts"]) >= 1, log
    assert "resuming " in log and len(losses(run)) == 200 and reached < 200


def test_scancel_leaves_nothing_behind_and_the_run_can_go_on_until_its_restarts_are_used(
    slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path
) -> None:
    training = small_overrides("motion_vae", tiny_dataset, *LONG, "checkpoint.every=20", "name=run")
    run = tmp_path / "runs/run"
    first = submit("submit", *CPU, "train", *training)
    wait_until("a checkpoint is there", trained_to(run, 25), 120)
    slurm.run("scancel", first)
    assert slurm.wait(first)["JobState"] == "CANCELLED"
    wait_until("its processes are gone", lambda: not processes_with(str(tiny_dataset)), 30)
    assert not [path.name for path in run.rglob("*") if ".tmp" in path.name]

    endless = [*training, "trainer.max_steps=100000"]
    second = submit("submit", *CPU, "slurm.max_restarts=1", "train", *endless)
    for turn, then in {1: "requeued", 2: "all 1 restarts"}.items():
        wait_until(f"turn {turn} trains", _resumed(slurm, run, second, turn), 120)
        slurm.run("scancel", "--signal=USR1", second)
        stopped = f"stopped on a signal after saving (85); {then}"
        wait_until("it has stopped", lambda stopped=stopped: stopped in log_of(run, second), 60)
    ended = slurm.wait(second)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "85:0")
    log = log_of(run, second)
    assert log.count("resuming ") == 2 and f"to go on: sbatch {run}/slurm/job.sbatch" in log
    assert not processes_with(str(tiny_dataset))


def test_an_array_runs_what_is_not_done_and_says_what_failed(
    slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path, capsys
) -> None:
    fixed = [text for text in small_overrides("motion_vae", tiny_dataset, *LONG) if not text.startswith("data.window")]
    command = ["sweep", "sweep.name=s", "sweep.launcher=slurm", *CPU, *fixed, "data.window=16,18,32"]  # 18: no stride
    array = submit(*command)
    ledger = Ledger("sweeps/s")
    wait_until("the third trial trains", lambda: _sweep_step(ledger, 2) >= 5, 240)
    slurm.run("scancel", "--signal=USR1", f"{array}_2")
    slurm.wait(array, 300)
    assert [ledger.status(index).state for index in range(3)] == ["done", "failed", "done"]
    assert [ledger.status(index).starts for index in range(3)] == [1, 1, 2]
    text = (tmp_path / f"sweeps/s/slurm/{array}_1.log").read_text()
    assert "data.window=18 must be a multiple" in text and "failed with status 1" in text
    assert slurm.job(f"{array}_1")["ExitCode"] == "1:0"
    again = submit(*command)
    assert "--array=1\n" in (tmp_path / "sweeps/s/slurm/job.sbatch").read_text()
    slurm.wait(again)
    assert ledger.status(1).starts == 2
    assert main(["sweep", "sweep.name=s", "sweep.collect=true"]) == 0
    assert "2 done, 1 failed" in capsys.readouterr().out.replace("1 done, 1 failed, 1 done", "2 done, 1 failed")
    rows = (tmp_path / "sweeps/s/table.csv").read_text().splitlines()
    assert len(rows) == 4 and [row.split(",")[2] for row in rows] == ["state", "done", "failed", "done"]


def test_tasks_of_an_array_search_together(slurm: Cluster, submit: Submit, tiny_dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    array = submit(
        "sweep", "sweep.name=rates", "sweep.launcher=slurm", "sweep.jobs=2", "sweep.search=optuna",
        "sweep.optuna.trials=3", "sweep.optuna.metric=train/loss", *CPU,
        *small_overrides("motion_vae", tiny_dataset, "optimizer.lr=tag(log,interval(1e-5,1e-2))"),
    )  # fmt: skip
    slurm.wait(array, 300)
    ledger = Ledger("sweeps/rates")
    statuses = [ledger.status(index) for index in range(3)]
    assert [status.state for status in statuses] == ["done"] * 3, [
        path.read_text() for path in (tmp_path / "sweeps/rates/slurm").glob("*.log")
    ]
    assert sorted(status.number for status in statuses) == [0, 1, 2]
    assert len({status.axes["optimizer.lr"] for status in statuses}) == 3
    for status in statuses:
        assert status.value == list(losses(ledger.run_dir(status)).values())[-1]


def _resumed(slurm: Cluster, run: Path, number: str, turn: int) -> Callable[[], bool]:
    """Whether a job trains in its ``turn``; a requeued one is let go on."""

    def condition() -> bool:
        assert slurm.is_queued(number), log_of(run, number)
        path = run / f"slurm/{number}.log"
        said = path.read_text().split(f"start {turn} on") if path.is_file() else []
        return len(said) == 2 and "steps in" in said[1]

    return condition


def _sweep_step(ledger: Ledger, index: int) -> int:
    status = ledger.status(index)
    return max(losses(ledger.run_dir(status)), default=0) if status.state == "running" else 0
