"""The batch script: what it asks for, and that no value in it can become shell text."""

import os
import subprocess
from pathlib import Path

import pytest

from moda.cli import submit
from moda.cli.main import main
from moda.errors import UserError
from moda.slurm import queue
from moda.slurm.container import wrap
from moda.slurm.script import Job, render
from moda.slurm.settings import ContainerSettings, JobSettings, seconds


def options(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def job_for(settings: JobSettings, folder: Path, *argv: str, array: str | None = None) -> Job:
    return Job(settings, folder / "slurm", folder, argv, "moda submit ...", array=array)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``written(*arguments)``: the script of ``moda submit --dry-run``, given from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def write(*arguments: str, run: str = "runs/dit") -> str:
        assert main(["submit", "--dry-run", *arguments]) == 0, capsys.readouterr().err
        text = (tmp_path / run / "slurm/job.sbatch").read_text()
        assert capsys.readouterr().out.startswith(text)
        return text

    return write


def test_a_training_on_two_nodes_of_eight_gpus(written, tmp_path: Path) -> None:
    text = written(
        "slurm.nodes=2", "slurm.gpus_per_node=8", "slurm.time=24:00:00", "slurm.partition=gpu", "slurm.mem=200G",
        "slurm.modules=[cuda/12.4]", "slurm.env.NCCL_DEBUG=INFO", "train", "task=dit", "data.path=d", "trainer=gpu",
    )  # fmt: skip
    assert {
        "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=8", "--mem=200G", "--time=24:00:00",
        "--partition=gpu", "--signal=USR1@300", "--open-mode=append", "--requeue", f"--chdir={tmp_path}",
        f"--output={tmp_path}/runs/dit/slurm/%j.log", "--dependency=singleton",
    } <= set(options(text))  # fmt: skip
    assert "module load cuda/12.4\nexport NCCL_DEBUG=INFO\n" in text
    for setting in ("trainer.accelerator=gpu", "trainer.devices=8", "trainer.num_nodes=2", "strategy=ddp"):
        assert f"\n  {setting}\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_a_job_on_cpus_and_one_of_another_command(written, tmp_path: Path) -> None:
    text = written("slurm=cpu", "slurm.tasks_per_node=2", "train", "data.path=d", "strategy=deepspeed_2")
    assert "--ntasks-per-node=2" in options(text) and not any("gpu" in option for option in options(text))
    assert "trainer.devices=2" in text and "strategy=ddp" not in text
    assert main(["submit", "prepare", "source=a", "out=b", "--dry-run", "slurm=cpu", "slurm.max_restarts=0"]) == 0
    (script,) = (tmp_path / "jobs").glob("prepare-*/job.sbatch")
    text = script.read_text()
    assert " prepare source=a out=b)" in text and "--no-requeue" in options(text)


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["slurm.gpus_per_node=8", "train", "trainer.devices=4"], "trainer.devices=4 contradicts slurm.gpus_per_node=8"),
        (["slurm.nodes=2", "train", "trainer.num_nodes=3"], "trainer.num_nodes=3 contradicts slurm.nodes=2"),
        (["train", "trainer.accelerator=cpu"], "trainer.accelerator=cpu contradicts slurm.gpus_per_node=1"),
        (["slurm=cpu", "train", "trainer=gpu"], "asks for GPUs .*but slurm.gpus_per_node=0"),
        (["train", "trainer=cpu"], "runs on a CPU, but slurm.gpus_per_node=1"),
        (["slurm.nodes=2", "train", "strategy=single"], "strategy=single trains in one process.* 2 tasks"),
        (["slurm=cpu", "slurm.gpus_per_node=2", "train"], "slurm.tasks_per_node=1 contradicts slurm.gpus_per_node=2"),
        (["slurm.nodes=2", "prepare", "source=a", "out=b"], "moda prepare is one process"),
        (["train", "resume=false"], "resume=false cannot be requeued"),
        (["train", "seed=1,2"], "(?i)sweep"),
        (["train", "--multirun"], "use moda sweep"),
        (["train", "nonsense=3"], "there is no setting 'nonsense'; moda train --help"),
        (["slurm.node=2", "train"], "there is no setting 'node'; moda submit --help"),
        (["slurm.nodes=two", "train"], "could not be converted to Integer .setting slurm.nodes"),
        (["slurm.nodes=0", "train"], "slurm.nodes=0: must be at least 1"),
        (["slurm.time=1d", "train"], "slurm.time=1d: give minutes"),
        (["slurm.time=6", "train"], "slurm.time=6 leaves no time to train"),
        (["slurm.mem=lots", "train"], "slurm.mem=lots"),
        (["slurm.extra=[gres]", "train"], "slurm.extra holds 'gres'"),
        (["slurm.env.A-B=1", "train"], "slurm.env.A-B: not the name"),
        (["slurm.env.A.B=1", "train"], "slurm.env.A holds .*has no dot"),
        (["slurm.tasks_per_node=3", "slurm=cpu", "train"], "data.batch_size=32 is not divisible by 3 ranks"),
        (["slurm.container.mounts=[/a]", "train"], "mounts without slurm.container.image"),
        (["slurm.partition='a\nb'", "train"], "holds a line break"),
        (["train", "name='a\nb'"], "holds a line break"),
        (["teach"], "'teach' is no command"),
        (["sweep", "seed=1,2"], "sweep.launcher=slurm"),
        ([], "no command to submit"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_it_waits_in_a_queue(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=reason):
        submit.main([*arguments, *(["data.path=d"] if "train" in arguments else []), "--dry-run"])
    assert not list(tmp_path.rglob("*.sbatch"))


def test_no_value_becomes_shell_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is run by a real bash, with srun and scontrol replaced by functions that print their words."""
    monkeypatch.chdir(tmp_path)
    evil = ["train", "name=$(touch hit)", "a='; touch hit; '", "b=`touch hit`", 'c="$HOME"', "d=\\", "e=*"]
    job = job_for(JobSettings(env={"X": "$(touch hit)"}), tmp_path / "it's $(touch hit) #1 50%", *evil)
    text = render(job)
    shell = 'srun() { printf "%s\\n" "$@" "$X"; }; scontrol() { echo node1; }\n'
    environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1"}
    done = subprocess.run(["bash"], input=shell + text, text=True, capture_output=True, env=environment)
    assert done.returncode == 0 and done.stderr == ""
    words = done.stdout.splitlines()
    assert [word for word in words if word in (*evil, "$(touch hit)")] == [*evil, "$(touch hit)"]
    assert not list(tmp_path.rglob("hit"))
    assert "50%%/slurm/%j.log" in text


def test_a_variable_is_the_text_that_was_typed(written) -> None:
    values = {
        "FLAG": "true", "RATE": "1e-3", "NONE": "null", "DEVICES": "^docker0,lo", "QUOTE": "it's", "SLASH": "a\\",
        "CODE": '"; $(touch hit) `x`', "EMPTY": "", "PAIR": "a=b c",
    }  # fmt: skip
    typed = [f"slurm.env.{name}={value}" for name, value in values.items()]
    text = written(*typed, "slurm.env.QUOTED='as Hydra wants it'", "+slurm.env.PLUS=1", "train", "data.path=d")
    exports = [line for line in text.splitlines() if line.startswith("export ") and "MASTER" not in line]
    shell = "\n".join([*exports, "env -0"])
    out = subprocess.run(["bash"], input=shell, text=True, capture_output=True, check=True).stdout
    variables = dict(line.split("=", 1) for line in out.split("\0") if "=" in line)
    assert {name: variables[name] for name in values} == values
    assert variables["QUOTED"] == "as Hydra wants it" and variables["PLUS"] == "1"


def test_data_is_checked_as_far_as_it_can_be_seen(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    job = ["submit", "--dry-run", "slurm=cpu", "slurm.tasks_per_node=4"]
    assert main([*job, "train", f"data.path={tiny_dataset}"]) == 1
    assert "4 ranks x 1 readers each need 4 shards, but the train split has 3" in capsys.readouterr().err
    assert main([*job, "train", f"data.path={tiny_dataset}", "data=resampled"]) == 0
    assert main([*job, "train", "data.path=elsewhere"]) == 0
    assert "warning: elsewhere is not a prepared data set" in capsys.readouterr().err
    assert main([*job, "slurm.container.image=i.sif", "train", "data.path=/inside"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "status, restarts, ends, requeued",
    [(0, 0, 0, False), (1, 0, 1, False), (85, 0, 0, True), (86, 1, 0, True), (138, 0, 0, True), (85, 2, 85, False)],
)
def test_the_status_decides_whether_the_job_starts_again(
    status: int, restarts: int, ends: int, requeued: bool, tmp_path: Path
) -> None:
    text = render(job_for(JobSettings(max_restarts=2), tmp_path, "train"))
    shell = f'srun() {{ return {status}; }}; scontrol() {{ echo "scontrol $*" >>"{tmp_path}/calls"; }}\n'
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n", "PATH": os.environ["PATH"]}
    if restarts:
        environment["SLURM_RESTART_COUNT"] = str(restarts)
    done = subprocess.run(["bash"], input=shell + text, text=True, capture_output=True, env=environment)
    assert done.returncode == ends
    assert ("scontrol requeue 7" in (tmp_path / "calls").read_text()) == requeued
    if status == 85 and not requeued:
        assert "all 2 restarts (slurm.max_restarts) are used" in done.stdout


def test_containers(tmp_path: Path) -> None:
    def wrapped(runtime: str, gpus: bool = True):
        return wrap(ContainerSettings(runtime, "image.sif", ["/data:/data"]), "/work", ("/work/run", "/out"), gpus)

    assert wrap(ContainerSettings(), "/work", (), True).prefix == ()
    binds = ["--bind=/work:/work", "--bind=/out:/out", "--bind=/data:/data"]
    assert wrapped("apptainer").prefix == ("apptainer", "exec", "--nv", *binds, "--pwd=/work", "image.sif")
    assert "--nv" not in wrapped("singularity", gpus=False).prefix
    assert wrapped("pyxis").srun == (
        "--container-image=image.sif", "--container-mounts=/work:/work,/out:/out,/data:/data", "--container-workdir=/work",
    )  # fmt: skip
    assert wrapped("enroot").prefix[:4] == ("enroot", "start", "--mount", "/work:/work")
    text = render(job_for(JobSettings(container=ContainerSettings("apptainer", "i.sif")), tmp_path, "train"))
    assert "command=(python3 -m moda.cli.main train)" in text  # the interpreter of the image


def test_time_limits() -> None:
    assert [seconds(text) for text in ("90", "2:30", "24:00:00", "2-12", "1-02:03", "1-02:03:04")] == [
        5400, 150, 86400, 216000, 93780, 93784,
    ]  # fmt: skip


def test_two_runs_never_share_a_job_name(tmp_path: Path) -> None:
    names = {job_for(JobSettings(), tmp_path / place / "run").name for place in "ab"}
    assert len(names) == 2
    named = render(job_for(JobSettings(job_name="mine"), tmp_path, "train"))
    assert "--job-name=mine" in options(named) and "--dependency=singleton" not in options(named)


def test_a_job_inherits_nothing_of_the_job_that_submits_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/sbatch"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv >'{tmp_path}/environment'; echo '12;cluster'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for name in ("SLURM_CONF", "SLURM_RESTART_COUNT", "SLURM_ARRAY_TASK_ID", "SLURM_MEM_PER_NODE", "MINE"):
        monkeypatch.setenv(name, "x")
    assert queue.submit(tmp_path / "job.sbatch") == "12"
    names = {line.split("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert {name for name in names if name.startswith("SLURM_")} == {"SLURM_CONF"} and "MINE" in names


def test_without_slurm_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="squeue is not on this machine.*--dry-run"):
        queue.queued(tmp_path / "job.sbatch")


@pytest.mark.parametrize(
    "nodes, first",
    [("node[1-3,7]", "node1"), ("127.0.0.[1-2]", "127.0.0.1"), ("a01", "a01"), ("gpu[08-11]", "gpu08"), ("x,y", "x")],
)
def test_training_finds_the_first_node_of_a_list(nodes: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    monkeypatch.setenv("SLURM_NODELIST", nodes)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("MASTER_ADDR", "")
    monkeypatch.delenv("MASTER_ADDR")  # what is set now goes after the test
    assert SLURMEnvironment(auto_requeue=False).main_address == first
