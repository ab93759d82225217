"""The examples that people read are what ``moda submit`` and ``moda sweep`` write.

After a change: MODA_WRITE_EXAMPLES=1 pytest tests/slurm/test_job_examples.py
"""

import os
import re
import sys
from pathlib import Path

import pytest

from moda.cli.main import main

FOLDER = Path(__file__).parents[2] / "slurm/examples"
HOME = "/home/you/project"
EXAMPLES = {
    "two_nodes.sbatch": (
        "submit", "slurm.nodes=2", "slurm.gpus_per_node=8", "slurm.time=24:00:00", "slurm.partition=gpu",
        "slurm.env.NCCL_DEBUG=WARN", "train", "task=dit", "data.path=data/mine", "model.motion_vae=runs/vae",
        "trainer=gpu", "strategy=deepspeed_2",
    ),
    "container.sbatch": (
        "submit", "slurm.gpus_per_node=4", "slurm.time=2-00", "slurm.container.image=images/moda.sif",
        "slurm.container.mounts=[/datasets]", "slurm.modules=[apptainer]", "train", "task=motion_vae",
        "data.path=/datasets/mine", "trainer=gpu", "name=vae",
    ),
    "sweep.sbatch": (
        "sweep", "sweep.name=rates", "sweep.launcher=slurm", "sweep.jobs=4", "slurm.time=4:00:00", "task=dit",
        "data.path=data/mine", "trainer=gpu", "optimizer.lr=1e-3,3e-4,1e-4", "seed=1,2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_what_is_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*EXAMPLES[name], "--dry-run"]) == 0
    (script,) = tmp_path.rglob("job.sbatch")
    text = script.read_text().replace(sys.executable, f"{HOME}/.venv/bin/python").replace(str(tmp_path), HOME)
    text = re.sub(r"(--job-name=moda-\w+)-[0-9a-f]{6}", r"\1-4f2a90", text)
    if os.environ.get("MODA_WRITE_EXAMPLES"):
        (FOLDER / name).write_text(text)
    assert (FOLDER / name).read_text() == text


def test_every_example_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(EXAMPLES)
