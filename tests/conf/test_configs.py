"""Every YAML of the package composes, and what it describes can be built."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_class, get_method
from omegaconf import OmegaConf

ROOT = Path(str(files("moda.conf")))
TOP = sorted(path.stem for path in ROOT.glob("*.yaml"))
GROUPS = sorted(str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.glob("*/*.yaml"))

# groups that belong to moda train -> what has to be chosen beside them
TRAIN = {"model": ("task=dit",), "flow": ("task=dit",), "task": (), "experiment": ()}
TRAIN |= {group: ("task=dit",) for group in ("data", "trainer", "strategy", "logger", "optimizer")}
GIVEN = ("data.path=d",)
NEEDED = {"train": ("task=dit", *GIVEN), "sweep": ("sweep.name=s",)}  # what has no default


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_module("moda.conf", version_base=None):
        value = OmegaConf.to_container(compose(name, list(overrides)), resolve=True)
    assert isinstance(value, dict)
    return {str(key): child for key, child in value.items()}


def targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from targets(child)


def check_targets(value: Any) -> None:
    for target in targets(value):
        assert target.startswith("moda."), target
        try:
            get_class(target)
        except ValueError:  # a function
            get_method(target)


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_file_composes_and_its_targets_exist(name: str) -> None:
    group, option = name.split("/")
    if group in TRAIN:
        task = next((name for name in ("motion_vae", "sync_expert") if option.startswith(name)), "dit")
        others = (f"task={task}",) if group == "model" else TRAIN[group]
        value = composed("train", *others, f"{group}={option}", *GIVEN)
    else:
        value = composed(name)
    check_targets(value)


@pytest.mark.parametrize("name", TOP)
def test_every_command_composes(name: str) -> None:
    value = composed(name, *(NEEDED.get(name, ())))
    assert "hydra" not in value
    check_targets(value)


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "flow").glob("*.yaml")))
def test_every_flow_is_built(option: str) -> None:
    from moda.build import build
    from moda.flow.rectified import RectifiedFlow

    flow = build(composed("train", "task=dit", f"flow={option}", *GIVEN)["flow"])
    assert isinstance(flow, RectifiedFlow)
    assert flow.times(4).shape == (4,) and flow.grid(4)[0] == 1


@pytest.mark.parametrize(
    "option", sorted(path.stem for name in ("mmdit*", "diagonal*") for path in (ROOT / "model").glob(f"{name}.yaml"))
)
def test_every_transformer_is_built(option: str) -> None:
    import torch

    from moda.build import build

    spec = composed("train", "task=dit", f"model={option}", *GIVEN)["model"]["network"]
    with torch.device("meta"):  # the shape of 373 M parameters, without them
        network = build({**spec, "motion_dim": 59, "audio_layers": 1, "audio_dim": 80, "identity_dim": 63})
    assert network.motion_dim == 59


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "model").glob("motion_vae*.yaml")))
def test_every_motion_vae_is_built(option: str) -> None:
    from moda.build import build

    spec = composed("train", "task=motion_vae", f"model={option}", *GIVEN)["model"]["network"]
    assert build({**spec, "motion_dim": 59}).motion_dim == 59


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "optimizer").glob("*.yaml")))
def test_every_optimizer_is_built_and_reaches_its_rates(option: str) -> None:
    import torch

    from moda.build import build

    spec = composed("train", "task=dit", f"optimizer={option}", *GIVEN)["optimizer"]
    optimizer, schedule = build(spec)(torch.nn.Linear(2, 2), total_steps=1000)
    rates = []
    for _ in range(1001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(spec["lr"])
    assert rates[0] < 0.02 * spec["lr"] and rates[-1] == pytest.approx(spec["lr"] * spec["final_factor"])


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "strategy").glob("*.yaml")))
def test_every_strategy_is_built(option: str) -> None:
    from lightning.pytorch.strategies import Strategy

    from moda.build import build
    from moda.training.distributed.resources import Resources

    value = composed("train", "task=dit", f"strategy={option}", *GIVEN)
    made = build({**value["strategy"], "_partial_": True})(resources=Resources.of(value["trainer"]))
    assert isinstance(made, Strategy)


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "trainer").glob("*.yaml")))
def test_every_trainer_takes_its_settings(option: str) -> None:
    import inspect

    import lightning as L

    settings = composed("train", "task=dit", f"trainer={option}", *GIVEN)["trainer"]
    assert set(settings) <= set(inspect.signature(L.Trainer).parameters)
    on_cpu = {**settings, "accelerator": "cpu", "devices": 1, "precision": "32-true"}
    trainer = L.Trainer(**on_cpu, max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert trainer.max_steps == settings["max_steps"]


def test_a_training_on_gpus_reads_beside_it_and_stops_rarely() -> None:
    value = composed("train", "task=dit", "trainer=gpu", *GIVEN)
    assert value["trainer"]["accelerator"] == "gpu" and value["trainer"]["precision"] == "bf16-mixed"
    assert value["data"]["num_workers"] == "auto" and value["compile"] == "auto"
    assert value["checkpoint"] == {"every": 5000, "keep": 2, "background": True} and value["preview"]["every"] == 5000
    given = composed("train", "task=dit", "trainer=gpu", "checkpoint.every=7", "data.num_workers=1", *GIVEN)
    assert given["checkpoint"]["every"] == 7 and given["data"]["num_workers"] == 1


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "logger").glob("*.yaml")))
def test_every_logger_starts_or_says_why_not(
    option: str, tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moda.build import build
    from moda.data.schema import DatasetManifest
    from moda.errors import UserError
    from moda.training.tracking.facts import RunStart

    monkeypatch.setenv("WANDB_MODE", "offline")
    value = composed("train", "task=dit", f"logger={option}", *GIVEN)
    start = RunStart(tmp_path, "test", 0, value, DatasetManifest.load(tiny_dataset), 1)
    try:
        loggers = build({**value["logger"], "_partial_": True})(start)
    except UserError as error:
        assert "tensorboard" in option and "pip install" in str(error)
        return
    assert isinstance(loggers, list)
    for logger in loggers:
        logger.log_metrics({"loss": 1.0}, 0)
        logger.finalize("success")
    if "wandb" in option:
        import wandb

        wandb.finish()


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "experiment").glob("*.yaml")))
def test_every_experiment_names_its_task(option: str) -> None:
    value = composed("train", f"experiment={option}", *GIVEN)
    assert value["name"] == option
    assert value["run_dir"] == f"runs/{option}"
