"""Whole trainings of tiny networks: they learn, stop, resume and export."""

import json
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from moda.errors import UserError
from moda.files import atomic_path
from moda.interop.export import load_export
from moda.training import run
from moda.training.checkpoints import writer as checkpoint
from moda.training.checkpoints.ema import KIND
from moda.training.checkpoints.pieces import PieceReader
from moda.training.checkpoints.writer import OPTIMIZER, WEIGHTS, CheckpointWriter
from moda.training.tracking.metrics import read_metrics


def series(run_dir: Path, name: str) -> dict[int, float]:
    return {int(line["step"]): line[name] for line in read_metrics(run_dir / "metrics.jsonl") if name in line}


def state_of(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    """Weights, moments and averages."""
    directory = run_dir / f"checkpoints/step-{step}"
    kinds = (PieceReader(directory, kind).whole() for kind in (WEIGHTS, OPTIMIZER, KIND))
    return {name: value for kind in kinds for name, value in kind.items()}


class Killed(Exception):
    """Stands for a process that dies."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process when the first batch after ``step`` updates begins."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == step:
            raise Killed

    monkeypatch.setattr(CheckpointWriter, "on_train_batch_start", on_train_batch_start)


@pytest.mark.parametrize("task", ["motion_vae", "dit"])
def test_a_run_resumed_after_a_kill_equals_one_that_was_not_killed(configure, tmp_path, task: str) -> None:
    more = ("model.space=motion",) if task == "dit" else ()
    run.train(configure(task, "whole", *more))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 5)
        run.train(configure(task, "killed", *more))
    assert set(series(tmp_path / "killed", "train/loss")) == {1, 2, 3, 4, 5}
    run.train(configure(task, "killed", *more))
    for name in ("train/loss", "val/loss", "lr"):
        assert series(tmp_path / "killed", name) == series(tmp_path / "whole", name) != {}
    whole, killed = state_of(tmp_path / "whole", 6), state_of(tmp_path / "killed", 6)
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        assert torch.equal(killed[name], value), name


def test_a_run_goes_on_with_another_accumulation(configure, tmp_path) -> None:
    settings = ("optimizer.final_factor=1", "checkpoint.every=1")  # a rate that does not depend on the length
    run.train(configure("motion_vae", "whole", *settings))
    for steps, accumulate in ((3, 1), (4, 4), (5, 1), (6, 2)):
        layout = (f"trainer.max_steps={steps}", f"trainer.accumulate_grad_batches={accumulate}")
        run.train(configure("motion_vae", "parts", *settings, *layout))
    for name in ("train/loss", "val/loss", "lr"):
        parts, whole = series(tmp_path / "parts", name), series(tmp_path / "whole", name)
        assert parts == pytest.approx(whole, rel=1e-5) and whole.keys() == parts.keys() != set(), name
    read = [
        json.loads((tmp_path / f"{name}/checkpoints/step-6/loader-00000.json").read_text())
        for name in ("parts", "whole")
    ]
    assert read[0] == read[1] and read[0]["samples_seen"] == 24


def test_a_run_killed_while_it_validates_validates_again(configure, tmp_path) -> None:
    for step in (3, 6):

        def die(self, trainer: L.Trainer, *_: Any, step: int = step) -> None:
            if trainer.global_step == step:
                raise Killed

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(CheckpointWriter, "on_validation_batch_start", die)
            run.train(configure("motion_vae", "killed", "checkpoint.every=1"))
        assert not (tmp_path / f"killed/checkpoints/step-{step}").exists()
    run.train(configure("motion_vae", "killed", "checkpoint.every=1"))
    run.train(configure("motion_vae", "whole", "checkpoint.every=1"))
    assert series(tmp_path / "killed", "val/loss") == series(tmp_path / "whole", "val/loss")


@pytest.mark.parametrize("step", [3, 6])
def test_an_export_that_a_kill_prevented_is_made_by_the_next_start(configure, tmp_path, capsys, step: int) -> None:
    settings = (f"trainer.max_steps={step}", "ema.power=[0.1]")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):

        def die(directory: Path, export: Any) -> None:
            if export.step == step:
                raise Killed

        patch.setattr(run, "write_export", die)
        run.train(configure("motion_vae", "vae", *settings))
    assert (tmp_path / f"vae/checkpoints/step-{step}").is_dir() and not (tmp_path / f"vae/export/step-{step}").exists()
    run.train(configure("motion_vae", "vae", *settings))
    assert load_export(tmp_path / "vae").step == step
    assert [path.name for path in sorted((tmp_path / "vae/ema").iterdir())][-1] == f"step-{step}"
    assert f"trained {tmp_path / 'vae'} to step {step}" in capsys.readouterr().out


def test_a_run_whose_checkpoints_are_all_damaged_is_not_silently_begun_again(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    (tmp_path / "vae/checkpoints/step-3/ema-00000.safetensors").unlink()
    before = (tmp_path / "vae/metrics.jsonl").read_text()
    with pytest.raises(UserError, match="no checkpoint in .*checkpoints is whole: bring one back, delete that folder"):
        run.train(configure("motion_vae", "vae"))
    assert (tmp_path / "vae/metrics.jsonl").read_text() == before


# Most of a velocity is noise that nothing can predict: its loss falls by less.
@pytest.mark.parametrize(("task", "steps", "factor"), [("motion_vae", 60, 0.7), ("dit", 80, 0.9)])
def test_training_lowers_the_loss(configure, tmp_path, task: str, steps: int, factor: float) -> None:
    settings = (f"trainer.max_steps={steps}", "optimizer.lr=1e-2", "checkpoint.every=100", "ema.decay=0.9")
    more = ("model.space=motion",) if task == "dit" else ()
    run.train(configure(task, "run", *settings, *more, "trainer.val_check_interval=20"))
    losses = list(series(tmp_path / "run", "train/loss").values())
    assert sum(losses[-5:]) < factor * sum(losses[:5])
    validation = series(tmp_path / "run", "val/loss")
    assert validation[steps] < validation[20]


def test_latents_of_the_trained_vae_have_zero_mean_and_unit_variance(configure, tmp_path, tiny_dataset) -> None:
    from moda.data.shards import FeatureShards

    export = load_export(run.train(configure("motion_vae", "vae")))
    assert export.network is None and export.step == 6
    latents = []
    for clip in FeatureShards(tiny_dataset, "train"):
        whole = clip.num_frames // export.vae.stride * export.vae.stride
        motion = torch.from_numpy(export.statistics.normalize(clip.motion[:whole]))[None]
        latents.append(export.vae.normalize(export.vae.encode(motion)[0])[0])
    joined = torch.cat(latents)
    torch.testing.assert_close(joined.mean(0), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(joined.std(0, correction=0), torch.ones(4), rtol=0, atol=1e-3)


def test_the_transformer_trains_on_the_latents_of_a_vae(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "vae"))
    run_dir = run.train(configure("dit", "dit", "model.space=latent", f"model.motion_vae={tmp_path / 'vae'}"))
    export = load_export(run_dir)
    assert export.space == "latent" and export.vae is not None
    assert export.network.motion_dim == export.vae.latent_dim == 4
    assert (run_dir / "export/motion_vae.safetensors").is_file()
    made = list(export.sampler().sample(torch.randn(30, 1, 6), torch.zeros(5), 8, torch.ones(59)))
    assert sum(len(part) for part in made) == 30


def test_a_finished_run_says_so_and_changes_nothing(configure, tmp_path, capsys) -> None:
    run.train(configure("motion_vae", "vae"))
    before = (tmp_path / "vae/metrics.jsonl").read_text()
    run.train(configure("motion_vae", "vae"))
    assert "already trained to step 6" in capsys.readouterr().out
    assert (tmp_path / "vae/metrics.jsonl").read_text() == before


def test_a_run_directory_belongs_to_one_configuration(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    with pytest.raises(UserError, match=r"seed \(0 -> 5\), optimizer.lr \(0.0005 -> 1\).*name="):
        run.train(configure("motion_vae", "vae", "optimizer.lr=1", "seed=5"))
    with pytest.raises(UserError, match="resume=false does not overwrite"):
        run.train(configure("motion_vae", "vae", "resume=false"))
    run.train(configure("motion_vae", "vae", "trainer.max_steps=6"))  # longer is going on
    assert load_export(tmp_path / "vae").step == 6
    with pytest.raises(UserError, match=r"max_steps \(6 -> 4\)"):
        run.train(configure("motion_vae", "vae", "trainer.max_steps=4"))


def test_a_folder_of_something_else_is_not_taken(configure, tmp_path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no run"):
        run.train(configure("motion_vae", "vae"))


def test_what_a_killed_start_has_left_is_no_obstacle(configure, tmp_path) -> None:
    (tmp_path / "vae/slurm").mkdir(parents=True)
    for name in (".lock", ".config.4711.tmp.yaml"):
        (tmp_path / "vae" / name).write_text("half of")
    run.train(configure("motion_vae", "vae", "trainer.max_steps=1"))


def test_a_checkpoint_of_other_data_is_not_resumed(configure, make_dataset) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    other = make_dataset("other", seed=7)
    with pytest.raises(UserError, match="motion statistics differ between the data set .*other and checkpoint"):
        run.train(configure("motion_vae", "vae", dataset=other))


def test_a_vae_of_other_data_or_another_layout_is_refused(configure, make_dataset, tmp_path) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=1"))
    vae = f"model.motion_vae={tmp_path / 'vae'}"
    with pytest.raises(UserError, match="motion statistics differ between the data set and the motion VAE"):
        run.train(configure("dit", "dit", "model.space=latent", vae, dataset=make_dataset("other", seed=7)))
    other_layout = make_dataset("keypoints", layout="liveportrait70")
    with pytest.raises(UserError, match=r"layout liveportrait70 \(70 dimensions\).*head59 \(59\)"):
        run.train(configure("dit", "dit", "model.space=latent", vae, dataset=other_layout))


def test_a_vae_that_was_trained_anew_is_noticed_on_resume(configure, tmp_path) -> None:
    latent = ("model.space=latent", f"model.motion_vae={tmp_path / 'vae'}")
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    run.train(configure("dit", "dit", *latent, "trainer.max_steps=3"))
    run.train(configure("motion_vae", "vae", "trainer.max_steps=6"))
    with pytest.raises(UserError, match="the motion_vae has changed since checkpoint .*step-3"):
        run.train(configure("dit", "dit", *latent))


def test_a_directory_without_a_vae_is_named(configure, tmp_path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        run.train(configure("dit", "dit", "model.space=latent", f"model.motion_vae={tmp_path / 'nowhere'}"))


def test_a_missing_shard_size_stops_before_anything_is_written(configure, make_dataset, tmp_path) -> None:
    root = make_dataset()
    shard = next(root.glob("train/features-*.tar"))
    shard.chmod(0o644)
    with open(shard, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match="has 1000 bytes"):
        run.train(configure("motion_vae", "vae", dataset=root))
    assert not (tmp_path / "vae").exists()


def full_tensors(directory: Path, kind: str, rank: int, *_: Any) -> None:
    (directory / f"{kind}-{rank:05d}.safetensors").write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


def full_json(path: Path, value: Any) -> None:
    with atomic_path(path):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("writer", "full"), [("write_pieces", full_tensors), ("write_json", full_json)])
def test_a_disk_that_fills_up_leaves_no_checkpoint_and_advice_once(
    configure, tmp_path, monkeypatch, writer: str, full: Any
) -> None:
    monkeypatch.setattr(checkpoint, writer, full)
    with pytest.raises(UserError, match=r"^cannot write checkpoint .*step-3.*No space left.*free space, then") as error:
        run.train(configure("motion_vae", "vae"))
    assert str(error.value).count("free space") == str(error.value).count("cannot write") == 1
    assert list((tmp_path / "vae/checkpoints").iterdir()) == []


def test_an_error_in_a_reader_process_is_one_line(configure, make_dataset) -> None:
    root = make_dataset()
    for shard in root.glob("train/features-*.tar"):  # the size stays, the content does not
        shard.chmod(0o644)
        data = shard.read_bytes()
        shard.write_bytes(data.replace(b"NUMPY", b"XUMPY"))
    with pytest.raises(UserError, match="sample '(ann|bob)_00[02]': .*prepare it again") as caught:
        run.train(configure("motion_vae", "vae", "data.num_workers=1", dataset=root))
    assert "\n" not in str(caught.value)


def test_the_previews_are_drawn_and_their_correlation_recorded(configure, tmp_path) -> None:
    run.train(configure("dit", "dit", "model.space=motion", "preview.every=3", "preview.seconds=1"))
    assert sorted(path.name for path in (tmp_path / "dit/previews").iterdir()) == ["step-3.png", "step-6.png"]
    correlations = series(tmp_path / "dit", "val/jaw_correlation")
    assert set(correlations) == {3, 6} and all(-1 <= value <= 1 for value in correlations.values())


def test_the_checkpoint_names_what_it_was_trained_on(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    manifest = json.loads((tmp_path / "vae/checkpoints/step-3/manifest.json").read_text())
    assert manifest["identity"]["statistics"]["layout"] == "head59"
    assert manifest["identity"]["audio_fingerprint"] == "audio-0"


def test_an_interrupt_is_the_users_and_the_run_goes_on_later(configure, tmp_path, monkeypatch) -> None:
    def interrupt(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 4:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointWriter, "on_train_batch_start", interrupt)
        run.train(configure("motion_vae", "vae"))
    signal.signal(signal.SIGINT, handler)  # Lightning has switched it off
    assert load_export(tmp_path / "vae").step == 3
    run.train(configure("motion_vae", "vae"))
    assert load_export(tmp_path / "vae").step == 6
