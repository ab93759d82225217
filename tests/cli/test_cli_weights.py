import re

import pytest

from moda.cli.main import main
from moda.weights import REGISTRY


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "moda" / "weights"


def test_list_tells_all_that_is_known_of_every_weight(capsys):
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    entries = {entry.split(":")[0]: entry for entry in _entries(out)}
    assert entries.keys() == REGISTRY.keys()
    for name, weight in REGISTRY.items():
        for known in (weight.purpose, weight.filename, weight.licence, weight.source, weight.sha256 or "not known"):
            assert known in entries[name]
        assert "not known, sha256" not in entries[name], "a size can at least be reckoned"
    assert "not here: moda weights get syncnet_v2" in entries["syncnet_v2"]
    assert "no, non-commercial only" in entries["arcface"]
    assert "3.8 MB, sha256 64184e22" in entries["face_landmarker"]
    assert "about 1,491.9 MB" in entries["moda_official"]


def _entries(out: str) -> list[str]:
    """A line that is not indented begins the next weight."""
    return re.split(r"\n(?! )", out.strip())


def test_check_fails_for_a_damaged_file_and_for_a_named_one_that_is_missing(capsys, empty_cache):
    assert main(["weights", "check", "syncnet_v2"]) == 1
    assert "moda weights get syncnet_v2" in capsys.readouterr().out
    empty_cache.mkdir(parents=True)
    (empty_cache / "face_landmarker.task").write_bytes(b"damaged")
    assert main(["weights", "check"]) == 1
    assert "face_landmarker" in capsys.readouterr().out
    assert main(["weights", "get", "face_landmarker"]) == 1


def test_add_installs_a_file_without_a_registered_hash_and_tells_its_own(capsys, tmp_path, empty_cache):
    (tmp_path / "downloaded").write_bytes(b"weights")
    assert main(["weights", "add", "sfd_face", str(tmp_path / "downloaded")]) == 0
    assert (empty_cache / "sfd_face.pth").read_bytes() == b"weights"
    assert "sha256" in capsys.readouterr().out
    assert main(["weights", "get", "sfd_face"]) == 0
    assert "already here" in capsys.readouterr().out


def test_mistakes_are_one_line(capsys, tmp_path):
    for arguments in (["get", "no_such_weight"], ["add", "sfd_face", str(tmp_path / "nothing")]):
        assert main(["weights", *arguments]) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("moda weights: error:")
        assert "\n" not in error
