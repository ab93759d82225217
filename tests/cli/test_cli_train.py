from pathlib import Path

import pytest
import torch
from training_support import small_overrides

from moda.cli import train
from moda.cli.hydra_app import compose
from moda.cli.main import main
from moda.cli.train import place_in_multirun
from moda.training.rundir import config_of


def test_a_run_of_a_multirun_is_named_by_what_it_varies() -> None:
    typed = ["--multirun", "task=dit", "seed=1,2", "optimizer.lr=1e-3,2e-3", "+a=/x/y,/z"]
    one = ["task=dit", "seed=1", "optimizer.lr=0.001", "+a=/x/y"]
    assert place_in_multirun(one, typed) == "seed-1_optimizer.lr-0.001_a-x-y"
    assert place_in_multirun(["task=dit", "seed=1"], ["task=dit", "seed=1"]) == ""
    assert place_in_multirun(["name=a", "seed=1"], ["name=a,b", "seed=1", "-m"]) == ""  # has its own place already
    long = [place_in_multirun([f"x={'y' * 100}{number}"], []) for number in (1, 2)]
    assert len(set(long)) == 2 and all(len(place) == 10 for place in long)


def test_hydras_multirun_trains_each_combination_in_its_own_place_and_goes_on(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = small_overrides("motion_vae", tiny_dataset, r"name='it\'s'")
    assert main(["train", "--multirun", *fixed, "seed=1,2"]) == 0
    for seed in (1, 2):
        config = config_of(tmp_path / f"runs/it's-seed-{seed}")
        assert config["seed"] == seed and config["name"] == f"it's-seed-{seed}"
    capsys.readouterr()
    assert main(["train", "--multirun", *fixed, "seed=2,1"]) == 0
    assert capsys.readouterr().out.count("is already trained to step 6") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["multirun", "runs"]


def test_the_ranks_of_a_run_of_a_multirun_train_in_its_place(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []
    monkeypatch.setattr(train, "run_ranks", lambda overrides, processes: started.append(overrides))
    fixed = small_overrides("motion_vae", tiny_dataset, "trainer.devices=2", "strategy=ddp", r"name='it\'s'")
    assert main(["train", *fixed, "seed=3"]) == 0
    assert main(["train", "--multirun", *fixed, "seed=1,2"]) == 0
    assert started[0] == [*fixed, "seed=3"]
    composed = [compose("train", overrides) for overrides in started]
    assert [config.run_dir for config in composed] == ["runs/it's", "runs/it's-seed-1", "runs/it's-seed-2"]
    assert [config.seed for config in composed] == [3, 1, 2]


def test_a_training_on_gpus_where_there_are_none_is_refused_before_anything_is_read(capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for more in ([], ["trainer.devices=1"], ["trainer.devices=8", "strategy=ddp"], ["trainer.accelerator=cuda"]):
        assert main(["train", "task=dit", "data.path=/nowhere", "trainer=gpu", *more]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("moda train: error: torch sees no GPU: ") and "trainer=cpu" in line
