"""One uninterrupted trajectory against runs that are killed, signalled, stopped, damaged and started again.

Real processes, started as users start them; faults/moda_faults.py lets in what goes wrong at a certain
step. Afterwards the samples, the losses and the weights are those of the run to which nothing happened.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_support import STEPS, Trajectory, alive, assert_same

from moda.training.checkpoints.writer import newest_complete

pytestmark = pytest.mark.slow
TWO = ("strategy=ddp", "trainer.devices=2")


def uninterrupted(folder: Path, dataset: Path, *settings: str) -> Trajectory:
    whole = Trajectory(folder, dataset, *settings)
    done = whole.train()
    assert done.returncode == 0, done.stderr
    return whole


@pytest.fixture(scope="module")
def whole(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return uninterrupted(tmp_path_factory.mktemp("whole"), tiny_dataset)


def test_one_process(whole: Trajectory, tiny_dataset: Path, tmp_path: Path) -> None:
    run = Trajectory(tmp_path, tiny_dataset)

    killed = run.train("data.num_workers=2", do="die", step=3)  # in step 4, between backward and update
    assert killed.returncode == -9 and run.checkpoints == ["step-2"]

    saving = run.train("data.num_workers=0", do="kill_at_event", event="os.rename", path=r"\.step-4\.tmp$")
    assert saving.returncode == -9 and run.checkpoints == ["step-2"]
    assert (run.run_dir / "checkpoints/.step-4.tmp/manifest.json").is_file()  # all but the name

    stopped = run.train("data.num_workers=1", do="signal", signal="SIGTERM", step=4, times=2)
    assert stopped.returncode == 85 and run.checkpoints == ["step-6", "step-4", "step-2"]
    assert stopped.stderr == "moda train: stopped by SIGTERM after saving step 6; run the same command again to go on\n"

    full = run.train(do="full_disk", step=6, bytes=50_000)
    assert full.returncode == 1 and run.checkpoints == ["step-6", "step-4", "step-2"]
    assert full.stderr.startswith(f"moda train: error: cannot write checkpoint {run.run_dir}/checkpoints/step-8: ")
    assert full.stderr.endswith("free space, then run again\n") and full.stderr.count("\n") == 1
    assert not list((run.run_dir / "checkpoints").glob(".*"))

    halve(run.newest() / "weights-00000.safetensors")  # as after a power cut
    last = run.train()
    assert last.returncode == 0, last.stderr
    assert "step-6: weights-00000.safetensors has" in last.stdout and "resuming" in last.stdout
    assert "from step 4" in last.stdout
    assert_same(whole, run)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def break_each(checkpoint: Path) -> list[tuple[str, Callable[[Path], object]]]:
    files = sorted(path.name for path in checkpoint.iterdir())
    half = [(f"half of {n}", lambda at, n=n: halve(at / n)) for n in files]
    gone = [(f"no {n}", lambda at, n=n: (at / n).unlink()) for n in files]
    return [*half, *gone]


def test_whichever_file_is_short_or_missing_the_checkpoint_before_is_taken(whole: Trajectory, tmp_path: Path) -> None:
    source = whole.run_dir / "checkpoints"
    names = {path.name.split("-")[0].split(".")[0] for path in (source / f"step-{STEPS}").iterdir()}
    assert names >= {"weights", "optimizer", "ema", "loader", "trainer", "manifest"}
    for number, (what, break_it) in enumerate(break_each(source / f"step-{STEPS}")):
        checkpoints = tmp_path / str(number)
        shutil.copytree(source, checkpoints)
        shutil.copytree(source / "step-4", checkpoints / ".step-12.tmp")  # of a save that was killed
        break_it(checkpoints / f"step-{STEPS}")
        said: list[str] = []
        assert newest_complete(checkpoints, said.append) == checkpoints / "step-6", what
        assert len(said) == 1 and f"step-{STEPS}" in said[0], what


def test_two_processes(tiny_dataset: Path, tmp_path: Path) -> None:
    whole = uninterrupted(tmp_path / "whole", tiny_dataset, *TWO)
    run = Trajectory(tmp_path / "faults", tiny_dataset, *TWO)

    hung = run.train("watchdog.timeout=8", do="signal", signal="SIGSTOP", rank=1, step=3)
    assert hung.returncode == 86 and run.checkpoints == ["step-2"]
    assert "training step 4" in (run.run_dir / "hangs/rank-0.txt").read_text()
    assert "moda train: rank 0 has made no progress for" in hung.stderr
    assert not any(alive(pid) for pid in run.pids())

    spoiled = run.train(do="overflow", rank=1, row=0, step=4)
    assert spoiled.returncode == 1 and run.checkpoints == ["step-4", "step-2"]
    kept = run.run_dir / "failures/step-5-rank-1"
    assert spoiled.stderr.startswith("moda train: error: the loss is not finite at step 5 on rank 1; the batch is in")
    assert str(kept) in spoiled.stderr and spoiled.stderr.count("\n") == 1
    samples = json.loads((kept / "failure.json").read_text())["batches"][0]
    assert [samples["key"], samples["start"]] == whole.samples()[1, 5]

    stopped = run.train("data.num_workers=1", do="signal", signal="SIGUSR1", rank=1, step=5)
    assert stopped.returncode == 85 and run.checkpoints == ["step-6", "step-4", "step-2"]
    assert stopped.stderr == "moda train: stopped by SIGUSR1 after saving step 6; run the same command again to go on\n"
    assert not any(alive(pid) for pid in run.pids())

    (run.newest() / "loader-00001.json").unlink()
    last = run.train()
    assert last.returncode == 0, last.stderr
    assert "step-6: loader-00001.json is missing" in last.stdout and "from step 4" in last.stdout
    assert_same(whole, run)


def test_two_processes_of_deepspeed(tiny_dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    zero = ("strategy=deepspeed_2", "trainer.devices=2")
    whole = uninterrupted(tmp_path / "whole", tiny_dataset, *zero)
    run = Trajectory(tmp_path / "faults", tiny_dataset, *zero)
    # one rank dies while it writes its part; the other has written its own
    saving = run.train(do="kill_at_event", rank=1, event="open", path="step-4.tmp/.loader-00001")
    assert saving.returncode == 137 and run.checkpoints == ["step-2"]
    assert "rank 1 was ended by SIGKILL" in saving.stderr
    assert not any(alive(pid) for pid in run.pids())
    last = run.train()
    assert last.returncode == 0, last.stderr
    assert "from step 2" in last.stdout
    assert_same(whole, run)
