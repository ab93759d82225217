"""What is said of GPUs that cannot be used, with torch answering as it does on such machines."""

from types import SimpleNamespace

import pytest
import torch

from moda import gpus
from moda.errors import UserError
from moda.gpus import Gpu, Stack, open_gpu, out_of_memory, require_fit, require_gpus

GIB = 2**30
H200 = Gpu(0, "NVIDIA H200", (9, 0), 140 * GIB, 138 * GIB)


@pytest.fixture
def machine(monkeypatch):
    """``machine(count, build, driver, supported)``: torch sees so many GPUs, and so on."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def set_up(count: int = 0, build: str | None = "12.8", driver: str | None = "570.86", supported=(12, 8)) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(gpus, "stack", lambda: Stack("2.13.0", build, driver, supported))

    return set_up


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as refused:
        require_gpus(*arguments)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("met", "said"),
    [
        ({"build": None}, "built without CUDA, though an NVIDIA driver is loaded; install a CUDA build"),
        ({"build": None, "driver": None, "supported": None}, "no NVIDIA driver is loaded (torch 2.13.0"),
        ({"driver": None, "supported": None}, "a login node, or a container that was not given the GPUs"),
        ({"driver": "470.57", "supported": (11, 4)}, "the driver is too old for this torch; update it to one that runs CUDA 12"),
        ({}, "a card in MIG mode has to be cut into slices first"),
    ],
)  # fmt: skip
def test_where_torch_sees_no_gpu_the_reason_and_the_versions_are_said(machine, met, said) -> None:
    machine(**met)
    line = refusal()
    assert line.startswith("torch sees no GPU: ") and said in line and "torch 2.13.0" in line and "moda doctor" in line
    if met.get("driver", "570.86"):
        assert "NVIDIA driver" in line


def test_a_newer_driver_of_the_same_major_version_is_not_blamed(machine) -> None:
    machine(build="12.8", supported=(12, 4))
    assert "too old" not in refusal()


def test_hidden_gpus_are_told_from_missing_ones(machine, monkeypatch) -> None:
    machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES=7 names none that is here" in refusal()


def test_devices_that_do_not_exist_are_named_with_those_that_do(machine, monkeypatch) -> None:
    machine(count=2)
    require_gpus(2, (0, 1))
    assert "from 0 to 1, there is no 5" in refusal(2, (0, 5))
    assert "trainer.devices=8, but torch sees 2 GPUs (CUDA_VISIBLE_DEVICES is not set)" in refusal(8)
    machine(count=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    line = refusal(8)
    assert "CUDA_VISIBLE_DEVICES=3" in line and "no --gpus-per-task" in line


@pytest.mark.parametrize(
    ("gpu", "precision", "processes", "said"),
    [
        (Gpu(1, "Tesla V100", (7, 0), 32 * GIB, 31 * GIB), "bf16-mixed", 1, r"GPU 1 \(Tesla V100.*has no bfloat16.*16-mixed"),
        (Gpu(0, "H200 MIG 1g.18gb", (9, 0), 18 * GIB, 17 * GIB), "bf16-mixed", 2, "a slice of a card.*NCCL joins no slices"),
        (Gpu(0, "NVIDIA H200", (9, 0), 140 * GIB, GIB // 2), "bf16-mixed", 1, "0.5 of 140.0 GiB free: another process"),
    ],
)  # fmt: skip
def test_a_gpu_that_cannot_train_this_is_refused_in_one_line(gpu, precision, processes, said) -> None:
    with pytest.raises(UserError, match=said):
        require_fit(gpu, precision, processes)
    require_fit(H200, precision, processes)
    if precision == "bf16-mixed" and gpu.capability < (8, 0):
        require_fit(gpu, "32-true", processes)


def test_one_slice_trains_alone() -> None:
    require_fit(Gpu(0, "H200 MIG 1g.18gb", (9, 0), 18 * GIB, 17 * GIB), "bf16-mixed", 1)
    assert gpus.is_slice("NVIDIA H200 MIG 1g.18gb") and not gpus.is_slice("NVIDIA H200")


def test_a_busy_gpu_is_named(machine, monkeypatch) -> None:
    machine(count=1)
    found = SimpleNamespace(name="NVIDIA H200", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (138 * GIB, 140 * GIB))
    assert open_gpu(0) == H200

    def busy(index: int):
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might...")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    with pytest.raises(UserError, match="GPU 0 cannot be opened .*busy or unavailable.*another process may hold it"):
        open_gpu(0)


def test_too_little_memory_in_training_is_one_line() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.1 GiB free. If reserved but"
    )
    line = str(out_of_memory(error))
    assert "Tried to allocate 2.00 GiB" in line and "trainer.accumulate_grad_batches=2" in line
    assert "If reserved" not in line and out_of_memory(RuntimeError("CUDA out of memory")) is None
