from types import SimpleNamespace

import pytest
import torch

from moda import gpus
from moda.cli import doctor
from moda.cli.main import main


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_this_machine_can_run_the_core(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "the core is ready" in out
    assert "encode libx264" in out


def test_a_missing_core_package_is_named_and_fails(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CORE_MODULES", {"no_such_package": "everything"})
    monkeypatch.setattr(doctor, "EXTRA_MODULES", {"no_such_extra": ("faces", "some-distribution")})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no_such_package" in out and "broken" in out
    assert "pip install -c constraints.txt some-distribution" in out


def test_a_codec_that_is_not_there_breaks_the_core(monkeypatch):
    monkeypatch.setattr(doctor, "CODECS", (("no_such_codec", "w"), ("aac", "w")))
    assert [finding.state for finding in doctor._codecs()] == ["broken", "ok"]


def test_an_unwritable_cache_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    finding = doctor._cache()
    assert finding.state == "missing"
    assert "XDG_CACHE_HOME" in finding.detail


def test_a_damaged_weight_is_not_ok(tmp_path):
    weights = tmp_path / "moda" / "weights"
    weights.mkdir(parents=True)
    (weights / "face_landmarker.task").write_bytes(b"damaged")
    finding = doctor._weight("face_landmarker")
    assert finding.state == "missing"
    assert "not the registered file" in finding.detail


def test_gpus_are_told_with_what_training_needs_of_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
    monkeypatch.setattr(gpus, "stack", lambda: gpus.Stack("2.13.0+cu130", "13.0", "590.10", (13, 1)))
    found = [
        gpus.Gpu(0, "NVIDIA H200", (9, 0), 140 * 2**30, 138 * 2**30),
        gpus.Gpu(1, "Tesla V100", (7, 0), 2**35, 2**34),
    ]
    monkeypatch.setattr(gpus, "open_gpu", lambda index: found[index])
    machine, first, second, *others = doctor._gpus()
    assert machine.state == "ok" and "built for CUDA 13.0; NVIDIA driver 590.10, which runs CUDA 13.1" in machine.detail
    assert "sm_90" in machine.detail
    assert first.state == "ok" and "compute capability 9.0), bfloat16, 138.0 of 140.0 GiB free" in first.detail
    assert second.state == "missing" and "no bfloat16" in second.detail
    assert [finding.what for finding in others] == ["NCCL", "flash attention", "compiling"]


def test_a_driver_that_torch_cannot_use_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(gpus, "stack", lambda: gpus.Stack("2.13.0+cpu", None, "590.10", (13, 1)))
    (finding,) = doctor._gpus()
    assert finding.state == "missing" and "built without CUDA, though an NVIDIA driver is loaded" in finding.detail


def test_limits_of_the_machine_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "SHARED", tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=64e6))
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda which: (256, 4096))
    memory, files = doctor._limits()
    assert memory.state == "missing" and "0.064 GB free" in memory.detail and "--shm-size" in memory.detail
    assert files.state == "missing" and "ulimit -n 4096" in files.detail
