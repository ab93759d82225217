import pytest

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
