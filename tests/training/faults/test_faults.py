"""One uninterrupted trajectory against runs that are killed, signalled, stopped, damaged and started again.

Real processes, started as users start them; faults/moda_faults.py lets in what goes wrong at a certain
step. Afterwards the samples, the losses and the weights are those of the run to which nothing happened.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fault_support import STEPS, Trajectory, alive, assert_same

from moda.training.checkpoints.manifest import newest_complete

pytestmark = pytest.mark.slow

BACKGROUND = "checkpoint.background=true"
LAYOUTS = {
    "one": (),
    "ddp": ("strategy=ddp", "trainer.devices=2"),
    "deepspeed_2": ("strategy=deepspeed_2", "trainer.devices=2"),
}


@pytest.fixture(scope="module")
def uninterrupted(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trajectory]:
    """``uninterrupted(layout)``: the run to which nothing happens, trained once."""
    made: dict[str, Trajectory] = {}

    def get(layout: str) -> Trajectory:
        if layout.startswith("deepspeed"):
            pytest.importorskip("deepspeed")
        if layout not in made:
            made[layout] = Trajectory(tmp_path_factory.mktemp(layout), tiny_dataset, *LAYOUTS[layout])
            done = made[layout].train()
            assert done.returncode == 0, done.stderr
        return made[layout]

    return get


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_fault_leaves_the_trajectory_as_it_was(uninterrupted, tiny_dataset, tmp_path, layout: str) -> None:
    whole, run = uninterrupted(layout), Trajectory(tmp_path, tiny_dataset, *LAYOUTS[layout])
    last = len(whole.pids()) - 1  # the rank that faults befall
    killed_status = 137 if last else -9

    killed = run.train("data.num_workers=1", do="die", rank=last, step=3)  # in step 4, between backward and update
    assert killed.returncode == killed_status and run.checkpoints == ["step-2"]
    assert not any(alive(pid) for pid in run.pids())

    saving = run.train("data.num_workers=0", do="kill_at_event", event="os.rename", path=r"\.step-4\.tmp$")
    assert saving.returncode == killed_status and run.checkpoints == ["step-2"]
    assert (run.run_dir / "checkpoints/.step-4.tmp/manifest.json").is_file()  # all but the name

    # acted upon at the second boundary, which is that of a validation
    stopped = run.train("data.num_workers=1", do="signal", signal="SIGTERM", rank=last, step=2, times=2)
    assert stopped.returncode == 85 and run.checkpoints == ["step-4", "step-2"]
    assert stopped.stderr == "moda train: stopped by SIGTERM after saving step 4; run the same command again to go on\n"

    # at a step that would not have been saved
    stopped = run.train("checkpoint.every=100", BACKGROUND, do="signal", signal="SIGUSR1", step=5)
    assert stopped.returncode == 85 and run.checkpoints == ["step-7", "step-4", "step-2"]
    assert stopped.stderr == "moda train: stopped by SIGUSR1 after saving step 7; run the same command again to go on\n"

    full = run.train("data.num_workers=1", BACKGROUND, do="full_disk", step=7, bytes=40_000)
    assert full.returncode == 1 and run.checkpoints == ["step-7", "step-4", "step-2"]
    assert full.stderr.startswith(f"moda train: error: cannot write checkpoint {run.run_dir}/checkpoints/step-8: ")
    assert full.stderr.endswith("free space, then run again\n") and full.stderr.count("\n") == 1
    assert not list((run.run_dir / "checkpoints").glob(".*"))

    done = run.train()
    assert done.returncode == 0 and "from step 7" in done.stdout, done.stderr
    assert_same(whole, run)


def test_kills_at_random_moments_leave_the_trajectory_as_it_was(uninterrupted, tiny_dataset, tmp_path) -> None:
    whole, run, random = uninterrupted("one"), Trajectory(tmp_path, tiny_dataset), np.random.default_rng(0)
    steps, delays = np.sort(random.integers(1, STEPS, 4)), random.uniform(0, 0.3, 4)
    moments = zip(steps.tolist(), delays.tolist(), strict=True)
    statuses = [
        run.kill(*moment, "data.num_workers=1", BACKGROUND) for moment in moments
    ]  # in the middle of a save, too
    assert set(statuses) <= {-9, 0} and statuses[0] == -9  # on a fast machine the last ones may come too late
    done = run.train()
    assert done.returncode == 0, done.stderr
    assert_same(whole, run)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("layout", ["one", "deepspeed_2"])
def test_a_kill_in_any_file_of_a_save_leaves_the_trajectory_as_it_was(
    uninterrupted, tiny_dataset, tmp_path, layout
) -> None:
    whole, run = uninterrupted(layout), Trajectory(tmp_path, tiny_dataset, *LAYOUTS[layout])
    names = sorted(path.name for path in (whole.run_dir / "checkpoints/step-4").iterdir())
    assert {name.split("-")[0].split(".")[0] for name in names} >= {"weights", "optimizer", "ema", "loader", "trainer"}
    last = f"{len(whole.pids()) - 1:05d}"  # of several ranks the last one's files: the first one's are written as those of one
    for name in (name for name in names if layout == "one" or last in name):
        stem, suffix = name.split(".")
        if suffix == "json":  # written beside its place, then renamed
            at = {"event": "os.rename", "path": rf"step-4\.tmp/\.{stem}\.\d+\.tmp\.json$"}
        else:
            at = {"event": "os.chmod", "path": rf"step-4\.tmp/{stem}\.safetensors$"}
        rank = int(stem[-1]) if stem[-1].isdigit() else 0
        saving = run.train(do="kill_at_event", **at, rank=rank, halved=True)
        assert saving.returncode in (-9, 137), (name, saving.stderr)
        assert run.checkpoints == ["step-2"], name
        left = [path for path in (run.run_dir / "checkpoints/.step-4.tmp").iterdir() if stem in path.name]
        assert len(left) == 1 and left[0].stat().st_size < (whole.run_dir / f"checkpoints/step-4/{name}").stat().st_size
    done = run.train()
    assert done.returncode == 0 and "from step 2" in done.stdout, done.stderr
    assert not list((run.run_dir / "checkpoints").glob(".*"))
    assert_same(whole, run)


def break_each(checkpoint: Path) -> list[tuple[str, Callable[[Path], object]]]:
    files = sorted(path.name for path in checkpoint.iterdir())
    half = [(f"half of {n}", lambda at, n=n: halve(at / n)) for n in files]
    gone = [(f"no {n}", lambda at, n=n: (at / n).unlink()) for n in files]
    return [*half, *gone]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whichever_file_is_short_or_missing_the_checkpoint_before_is_taken(
    uninterrupted, tmp_path, layout: str
) -> None:
    source = uninterrupted(layout).run_dir / "checkpoints"
    for number, (what, break_it) in enumerate(break_each(source / f"step-{STEPS}")):
        checkpoints = tmp_path / str(number)
        shutil.copytree(source, checkpoints)
        shutil.copytree(source / "step-4", checkpoints / ".step-12.tmp")  # of a save that was killed
        break_it(checkpoints / f"step-{STEPS}")
        said: list[str] = []
        assert newest_complete(checkpoints, said.append) == checkpoints / "step-6", what
        assert len(said) == 1 and f"step-{STEPS}" in said[0], what


@pytest.mark.parametrize("layout", ["one", "ddp", "deepspeed_2"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(uninterrupted, tiny_dataset, tmp_path, layout) -> None:
    whole, run = uninterrupted(layout), Trajectory(tmp_path, tiny_dataset, *LAYOUTS[layout])
    shutil.copytree(whole.run_dir, run.run_dir)
    shutil.copytree(whole.samples_dir, run.samples_dir, dirs_exist_ok=True)
    shutil.rmtree(run.run_dir / "export")
    content = bytearray((run.newest() / "weights-00000.safetensors").read_bytes())
    content[-1] ^= 1
    (run.newest() / "weights-00000.safetensors").write_bytes(content)  # only the ranks' first reads the hashes
    halve(run.run_dir / "checkpoints/step-6/trainer.json")
    done = run.train()
    assert done.returncode == 0 and "from step 4" in done.stdout, done.stderr
    assert "step-8: weights-00000.safetensors does not have the hash" in done.stdout
    assert "step-6: trainer.json has" in done.stdout
    assert_same(whole, run)


@pytest.mark.parametrize("layout", ["ddp", "deepspeed_2"])
def test_a_rank_that_hangs_or_spoils_a_step_ends_them_all(uninterrupted, tiny_dataset, tmp_path, layout: str) -> None:
    whole, run = uninterrupted(layout), Trajectory(tmp_path, tiny_dataset, *LAYOUTS[layout])

    if layout == "ddp":  # a rank that was stopped cannot say where; the one that waits for it can
        hung, where = run.train("watchdog.timeout=8", do="signal", signal="SIGSTOP", rank=1, step=3), "rank-0"
    else:
        hung, where = run.train("watchdog.timeout=8", do="sleep", rank=1, step=3), "rank-1"
    assert hung.returncode == 86 and run.checkpoints == ["step-2"]
    assert "training step 4" in (run.run_dir / f"hangs/{where}.txt").read_text()
    assert f"moda train: {where.replace('-', ' ')} has made no progress for" in hung.stderr
    assert not any(alive(pid) for pid in run.pids())

    spoiled = run.train(do="overflow", rank=1, row=0, step=4)
    assert spoiled.returncode == 1 and run.checkpoints == ["step-4", "step-2"]
    kept = run.run_dir / "failures/step-5-rank-1"
    assert spoiled.stderr.startswith("moda train: error: the loss is not finite at step 5 on rank 1; the batch is in")
    assert str(kept) in spoiled.stderr and spoiled.stderr.count("\n") == 1
    samples = json.loads((kept / "failure.json").read_text())["batches"][0]
    assert [samples["key"], samples["start"]] == whole.samples()[1, 5]

    poisoned = run.train(do="poison", rank=1, step=5)
    assert poisoned.returncode == 1 and run.checkpoints == ["step-4", "step-2"]
    assert "the gradient norm is not finite at step 6 on rank " in poisoned.stderr and poisoned.stderr.count("\n") == 1

    done = run.train()
    assert done.returncode == 0 and "from step 4" in done.stdout, done.stderr
    assert_same(whole, run)
