"""The same tasks by processes and by Ray: the same data set. By SLURM: tests/slurm/test_prepare_array.py."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prep_fakes import write_video

from moda.cli.main import main
from moda.data.schema import DatasetManifest
from moda.data_prep.extract import Extractor
from moda.data_prep.networks import Networks
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.slurm_array import Cluster, submit
from moda.data_prep.sources import Source
from moda.data_prep.tasks import WorkFolder, WorkList, plan_tasks
from moda.errors import UserError
from moda.motion.layout import get_layout
from moda.slurm.settings import JobSettings

REPOSITORY = Path(__file__).parents[2]


def overrides(source: Path, out: Path) -> list[str]:
    return [f"source={source}", f"out={out}", "audio=logmel", "video_size=128"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short clips of rendered heads."""
    pytest.importorskip("ai_edge_litert")
    from moda.codec.head.identity import random_head
    from moda.codec.head.renderer import HeadRenderer

    folder, renderer = tmp_path_factory.mktemp("heads"), HeadRenderer(160, 1)
    motion = np.zeros(get_layout("head59").dim, np.float32)
    motion[get_layout("head59").index("scale")] = 1
    rng = np.random.default_rng(0)
    for seed in (1, 2, 3):
        picture = renderer.render(random_head(seed), motion)
        write_video(folder / f"{seed}.mp4", [picture] * 26, sound=rng.uniform(-0.2, 0.2, 16_700).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def by_processes(heads: Path) -> DatasetManifest:
    out = heads.parent / "by_processes"
    assert main(["prepare", *overrides(heads, out), "workers=1"]) == 0
    return DatasetManifest.load(out)


@pytest.mark.slow
def test_ray_gives_the_same_data_set(heads: Path, by_processes: DatasetManifest, tmp_path: Path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        assert main(["prepare", *overrides(heads, tmp_path / "data"), "launcher=ray", "tasks=3"]) == 0
    finally:
        ray.shutdown()
    assert DatasetManifest.load(tmp_path / "data").fingerprint == by_processes.fingerprint


@pytest.fixture
def work(tmp_path: Path) -> tuple[WorkFolder, WorkList]:
    names = [f"{k}.mp4" for k in range(6)]
    settings = PrepareSettings(tmp_path, tmp_path / "it's $(touch hit)", {}, {}, {}, launcher="slurm", workers=2)
    plan = WorkList(settings, "state", plan_tasks([Source(tmp_path / name, name) for name in names], 1, 3), 0.0)
    folder = WorkFolder.of(settings.out)
    folder.save(plan)
    return folder, plan


def test_the_array_has_a_task_for_each_part_of_the_work(work: tuple[WorkFolder, WorkList], tmp_path: Path, capsys):
    submit(*work, Cluster(JobSettings(submit=False, cpus_per_task=2), "moda prepare launcher=slurm"))
    text = capsys.readouterr().out
    assert "#SBATCH --array=0-2%2" in text and "not submitted" in text
    shell = 'srun() { printf "%s\\n" "$@"; }; scontrol() { echo node1; }\n'
    environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2",
                   "SLURM_JOB_NODELIST": "node1"}  # fmt: skip
    script = next(work[0].path.parent.glob("slurm/tasks/*.sbatch")).read_text()
    done = subprocess.run(["bash"], input=shell + script, text=True, capture_output=True, env=environment, cwd=tmp_path)
    words = done.stdout.splitlines()
    assert words[words.index("prepare-task") :][:3] == ["prepare-task", str(work[0].path.parent), "2"], done
    assert not list(tmp_path.rglob("hit"))
    with pytest.raises(UserError, match="one process"):
        submit(*work, Cluster(JobSettings(nodes=2), ""))


def test_finishing_says_what_was_not_read(work: tuple[WorkFolder, WorkList], monkeypatch, capsys):
    monkeypatch.setattr("moda.data_prep.extract.Extractor.of", lambda settings: None)
    assert main(["prepare-task", str(work[0].path.parent), "finish"]) == 1
    assert "6 of 6 videos have not been read, as" in capsys.readouterr().err
    assert main(["prepare-task", str(work[0].path.parent), "3"]) == 1
    assert "has no task 3: they count from 0 to 2" in capsys.readouterr().err
    assert main(["prepare-task", "x"]) == 2


def test_a_worker_with_other_networks_than_planned_refuses(settings: PrepareSettings, monkeypatch, capsys):
    models = Extractor.of(settings)
    work = WorkFolder.of(settings.out)
    work.save(WorkList(settings, models.state, ((Source(settings.source / "a.mp4", "a.mp4"),),), 0.0))
    other = replace(models, networks=Networks(fingerprints={"voice": "silero_vad 1"}))
    monkeypatch.setattr(Extractor, "of", lambda settings: other)
    assert main(["prepare-task", str(settings.out), "0"]) == 1
    assert "(codec, audio, voice) are not those that the work was planned with" in capsys.readouterr().err


def test_settings_of_a_cluster_mean_nothing_elsewhere(tmp_path: Path, capsys):
    assert main(["prepare", *overrides(tmp_path, tmp_path / "out"), "slurm.time=10"]) == 1
    assert "slurm.time=10 does nothing without launcher=slurm" in capsys.readouterr().err
    assert main(["prepare", *overrides(tmp_path, tmp_path / "out"), "--dry-run"]) == 1
    assert "--dry-run does nothing without launcher=slurm" in capsys.readouterr().err


def test_a_task_that_is_told_to_stop_goes_on_later_and_blames_no_video(heads: Path, tmp_path: Path):
    """SIGTERM, as SLURM sends it to a job that has to leave."""
    settings = replace(PrepareSettings(heads, tmp_path / "data", {}, {}, {}), audio={"_target_": "moda.audio.logmel.LogMelEncoder"},
                       codec={"_target_": "moda.codec.head.HeadCodec"}, detector={"_target_": "moda.face.landmarker.FaceLandmarker"})  # fmt: skip
    source = Source(heads / "1.mp4", "1.mp4")
    work = WorkFolder.of(settings.out)
    work.save(WorkList(settings, Extractor.of(settings).state, ((source,),), 0.0))
    code = (
        "import os, signal, sys; from moda.data_prep import extract; from moda.cli.main import main\n"
        "extract.Extractor.process = lambda *_: (os.kill(os.getpid(), signal.SIGTERM), signal.pause())\n"
        f"sys.exit(main(['prepare-task', {str(settings.out)!r}, '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 85, done.stderr
    assert work.tries(source) == 0 and work.item(source, work.load().state) is None
