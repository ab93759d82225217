import os
from datetime import timedelta

import pytest
import torch

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.training.distributed import resources
from moda.training.distributed.resources import A_DAY, Resources, cores_of_rank, readers_of

TRAINER = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "precision": "32-true"}


def of(watchdog=None, **settings) -> Resources:
    return Resources.of({**TRAINER, **settings}, watchdog)


@pytest.fixture
def eight_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)


@pytest.mark.parametrize(
    ("asked", "devices"),
    [("auto", 8), (-1, 8), (2, 2), ("2", 2), ([4, 5], (4, 5)), ("4,5", (4, 5)), ("3,", (3,))],
)
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_every_way_to_name_gpus_is_understood(eight_gpus, asked, devices, name) -> None:
    found = of(accelerator=name, devices=asked, num_nodes=2)
    assert found.accelerator == "gpu" and found.devices == devices
    count = devices if isinstance(devices, int) else len(devices)
    assert found.local_processes == count and found.processes == 2 * count
    assert found.lightning_devices == (devices if isinstance(devices, int) else list(devices))


def test_a_process_takes_the_gpu_that_was_named_for_it(eight_gpus) -> None:
    assert of(accelerator="gpu", devices=[4, 5]).device(1) == torch.device("cuda", 5)
    assert of(accelerator="gpu", devices=8).device(3) == torch.device("cuda", 3)
    assert of(devices=2).device(1) == torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accelerator": "tpu"}, "trainer.accelerator=tpu: must be cpu or gpu"),
        ({"precision": "bf16-true"}, "trainer.precision=bf16-true: must be one of"),
        ({"devices": [0, 1]}, "names GPUs, but trainer.accelerator=cpu"),
        ({"devices": "many"}, "trainer.devices=many: must be auto, a number, or a list"),
        ({"devices": 0}, "at least 1 process"),
        ({"devices": [1, 1]}, "must name different GPUs"),
        ({"accelerator": "gpu", "devices": [0, 9]}, "there is no 9"),
        ({"accelerator": "gpu", "devices": 16}, "torch sees 8 GPUs"),
    ],
)
def test_what_cannot_be_is_refused(eight_gpus, settings, said) -> None:
    with pytest.raises(UserError, match=said):
        of(**settings)


def test_where_torch_sees_no_gpu_it_is_said(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for devices in ("auto", 1, [0]):
        with pytest.raises(UserError, match="^torch sees no GPU"):
            of(accelerator="gpu", devices=devices)


def test_collective_operations_outlast_the_watchdog() -> None:
    assert of({"timeout": 1800, "first": 3600}).patience == timedelta(seconds=7200)
    assert of({"timeout": 0, "first": 3600}).patience == A_DAY
    assert of().patience == A_DAY


def test_cores_are_shared_by_the_processes_of_a_node(monkeypatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(resources, "cores", lambda: 16)
    assert cores_of_rank(of(devices=4)) == 4
    monkeypatch.setitem(os.environ, "SLURM_CPUS_PER_TASK", "8")
    assert cores_of_rank(of(devices=4)) == 8


def test_readers_are_chosen_on_gpus_alone_and_only_where_nobody_says_how_many(
    eight_gpus, tiny_dataset, monkeypatch
) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(resources, "cores", lambda: 16)
    manifest = DatasetManifest.load(tiny_dataset)  # 3 shards of training
    auto, three = ({"num_workers": number, "split": "train"} for number in ("auto", 3))
    assert readers_of(auto, manifest, of(accelerator="gpu", devices=1)) == 3
    assert readers_of(auto, manifest, of(accelerator="gpu", devices=8)) == 0
    assert readers_of(auto, manifest, of()) == 0
    assert readers_of(three, manifest, of()) == 3
