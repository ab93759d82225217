"""Exports of any checkpoint: in one process, and loaded where there is neither Lightning nor DeepSpeed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bare_support import sample_bare, sample_of

from moda.cli.main import main
from moda.errors import UserError
from moda.interop.export import load_export
from moda.training.checkpoints.consolidate import export_run, rebuilt_average, weights_of
from moda.training.run import train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """Twelve steps, each with a checkpoint, two power-function averages kept."""
    from hydra import compose, initialize_config_module
    from training_support import small_overrides

    from moda.cli.train import resolve

    path = tmp_path_factory.mktemp("export") / "run"
    settings = (
        "model.space=motion", "trainer.max_steps=12", "checkpoint.every=1", "optimizer.lr=1e-2", "ema.power=[0.08,0.15]",
    )  # fmt: skip
    with initialize_config_module("moda.conf", version_base=None):
        config = compose("train", small_overrides("dit", tiny_dataset, f"run_dir={path}", *settings))
    return train(resolve(config))


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in b)


def test_the_runs_own_export_is_the_exponential_average(run_dir: Path) -> None:
    weights = weights_of(run_dir / "checkpoints/step-12")
    assert distance(load_export(run_dir).network.state_dict(), weights) == 0


def test_any_kept_weights_are_exported(run_dir: Path, tmp_path: Path) -> None:
    trained = load_export(export_run(run_dir, tmp_path / "trained", 11, None, None))
    assert trained.step == 11
    assert distance(trained.network.state_dict(), weights_of(run_dir / "checkpoints/step-11", None)) == 0
    power = load_export(export_run(run_dir, tmp_path / "power", None, "power-0.15", None))
    assert distance(power.network.state_dict(), weights_of(run_dir / "checkpoints/step-12", "power-0.15")) == 0
    assert distance(power.network.state_dict(), trained.network.state_dict()) > 1e-4


def test_an_average_of_another_width_is_rebuilt_from_those_of_pruned_checkpoints(run_dir: Path) -> None:
    assert len(list((run_dir / "checkpoints").glob("step-*"))) == 2 and len(list((run_dir / "ema").iterdir())) == 12
    kept = weights_of(run_dir / "checkpoints/step-12", "power-0.15")
    assert distance(rebuilt_average(run_dir / "ema", 12, 0.15), kept) < 1e-6
    between = rebuilt_average(run_dir / "ema", 12, 0.12)
    narrow, wide = (weights_of(run_dir / "checkpoints/step-12", f"power-{width}") for width in (0.08, 0.15))
    assert 0 < distance(between, wide) < distance(narrow, wide)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "4"), "has no checkpoint of step 4; it has 12, 11"),
        (("--weights", "power-0.2"), "holds no average 'power-0.2'; it has exponential, power-0.08, power-0.15"),
        (("--sigma-rel", "0.5"), "must lie in"),
        (("--sigma-rel", "0.01"), "only with an error of"),
    ],
)
def test_what_the_run_does_not_have_is_said(run_dir: Path, capsys, arguments: tuple[str, ...], message: str) -> None:
    assert main(["export", str(run_dir), *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("task", ["motion_vae", "dit"])
def test_a_run_that_was_killed_before_its_first_export_is_exported_all_the_same(configure, tmp_path, task: str) -> None:
    more = ("model.space=motion",) if task == "dit" else ()
    run = train(configure(task, "run", *more))
    whole = load_export(run)
    shutil.rmtree(run / "export")
    again = load_export(export_run(run, None, None, "exponential", None))
    assert (again.task, again.step, again.config) == (whole.task, whole.step, whole.config)
    ours, theirs = (export.vae if task == "motion_vae" else export.network for export in (again, whole))
    assert distance(ours.state_dict(), theirs.state_dict()) == 0


def test_an_export_computes_the_same_without_lightning_and_deepspeed(run_dir: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", str(run_dir), "--weights", "trained"]) == 0
    out = run_dir / "exports/step-12-trained"
    assert str(out) in capsys.readouterr().out
    motion = sample_of(load_export(out))
    assert motion.shape == (30, 59) and motion.std(0).max() > 0.01
    np.testing.assert_allclose(sample_bare(out, tmp_path), motion, rtol=0, atol=1e-5)


def test_a_motion_vae_is_exported_with_latents_measured_anew(configure, tmp_path: Path) -> None:
    run = train(configure("motion_vae", "vae", "optimizer.lr=1e-2"))
    averaged, trained = load_export(run), load_export(export_run(run, None, None, None, None))
    kept = weights_of(run / "checkpoints/step-6", None)
    assert distance(trained.vae.state_dict(), {name: kept[name] for name, _ in trained.vae.named_parameters()}) == 0
    assert not torch.equal(trained.vae.latent_std, averaged.vae.latent_std)


def test_a_run_without_snapshots_says_how_to_keep_them(configure) -> None:
    run = train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    with pytest.raises(UserError, match=r"train with ema.power=\[0.05,0.1\]"):
        export_run(run, None, None, None, 0.1)
