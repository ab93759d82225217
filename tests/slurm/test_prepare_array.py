"""A preparation as an array job of a real cluster, given as a user gives it."""

from pathlib import Path

import numpy as np
import pytest
from slurm_cluster import Cluster

from moda.cli.main import main
from moda.data.lint import lint
from moda.data.schema import DatasetManifest
from moda.generation.video import VideoWriter
from moda.motion.layout import get_layout


def write_heads(folder: Path) -> None:
    """Three short clips of rendered heads."""
    pytest.importorskip("ai_edge_litert")
    from moda.codec.head.identity import random_head
    from moda.codec.head.renderer import HeadRenderer

    renderer, rng = HeadRenderer(160, 1), np.random.default_rng(0)
    motion = np.zeros(get_layout("head59").dim, np.float32)
    motion[get_layout("head59").index("scale")] = 1
    for seed in (1, 2, 3):
        picture = renderer.render(random_head(seed), motion)
        with VideoWriter(folder / f"{seed}.mp4", 160, audio=rng.uniform(-0.2, 0.2, 16_640).astype(np.float32)) as video:
            for _ in range(26):
                video.write(picture)


@pytest.mark.slurm
@pytest.mark.slow
def test_an_array_gives_the_data_set_that_processes_give(slurm: Cluster, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    write_heads(tmp_path / "videos")
    here, there = tmp_path / "here", tmp_path / "there"
    command = ["prepare", f"source={tmp_path / 'videos'}", "audio=logmel", "video_size=128"]
    assert main([*command, f"out={here}", "workers=1"]) == 0
    array = [*command, f"out={there}", "launcher=slurm", "tasks=3", "slurm.cpus_per_task=1"]
    capsys.readouterr()
    assert main(array) == 0, capsys.readouterr().err
    last = capsys.readouterr().out.split("and job ")[1].split(",")[0]
    assert main(array) == 1 and "in the queue already" in capsys.readouterr().err
    ended = slurm.wait(last)
    log = "".join(path.read_text() for path in (there / "slurm").rglob("*.log"))
    assert ended["JobState"] == "COMPLETED", log
    assert DatasetManifest.load(there).fingerprint == DatasetManifest.load(here).fingerprint
    assert lint(there, video=True).findings == () and main(["prepare", "status", str(there)]) == 0
    assert "whole, 3 clips" in capsys.readouterr().out
