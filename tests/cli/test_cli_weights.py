import pytest

from moda.cli.main import main
from moda.weights import REGISTRY


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "moda" / "weights"


def test_list_names_every_weight_its_licence_and_the_way_to_get_it(capsys):
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    for weight in REGISTRY.values():
        assert weight.name in out
        assert weight.licence[:20] in out
    assert "moda weights get syncnet_v2" in out


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
