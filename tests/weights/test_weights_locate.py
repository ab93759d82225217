import dataclasses
import hashlib
import sys

import pytest

from moda import weights
from moda.errors import UserError
from moda.weights import locate, registry


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """No $MODA_WEIGHTS, an empty cache, and a registry of one weight without a packaged copy."""
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weight = registry.Weight(
        name="toy", purpose="a test", licence="CC0-1.0", commercial=True, filename="toy.bin",
        source="https://example.org", sha256=hashlib.sha256(b"right").hexdigest(), size=5,
    )  # fmt: skip
    monkeypatch.setattr(registry, "REGISTRY", {"toy": weight})
    return weight


def put(path, content=b"right"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_missing_weight_names_file_and_command(empty_machine):
    with pytest.raises(UserError, match=r"toy\.bin.*moda weights get toy"):
        weights.find("toy")


def test_unknown_name_lists_known():
    with pytest.raises(UserError, match="known:.*face_landmarker"):
        weights.find("no_such_weight")


def test_order_is_environment_then_cache_then_package(empty_machine, tmp_path, monkeypatch):
    package = put(tmp_path / "site" / "toypackage" / "inner" / "toy.bin")
    put(package.parents[1] / "__init__.py", b"raise RuntimeError('a weight is located without importing its package')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    packaged = dataclasses.replace(
        empty_machine, packaged=registry.PackagedCopy("toy-dist", "toypackage", "inner/toy.bin")
    )
    monkeypatch.setattr(registry, "REGISTRY", {"toy": packaged})
    assert weights.find("toy") == package
    assert "toypackage" not in sys.modules
    cached = put(tmp_path / "cache" / "moda" / "weights" / "toy.bin")
    assert weights.find("toy") == cached
    own = put(tmp_path / "own" / "toy.bin")
    monkeypatch.setenv("MODA_WEIGHTS", str(own.parent))
    assert weights.find("toy") == own


def test_wrong_content_is_refused_even_after_a_good_check(empty_machine, tmp_path):
    path = put(tmp_path / "cache" / "moda" / "weights" / "toy.bin")
    assert weights.find("toy") == path
    path.write_bytes(b"wrong, and of another size")
    with pytest.raises(UserError, match="not the registered file"):
        weights.find("toy")


def test_a_checked_version_is_not_hashed_again(empty_machine, tmp_path, monkeypatch):
    put(tmp_path / "cache" / "moda" / "weights" / "toy.bin")
    weights.find("toy")

    def refuse(path):
        raise AssertionError(f"{path} hashed a second time")

    monkeypatch.setattr(locate, "sha256_of", refuse)
    weights.find("toy")


def test_unwritable_cache_still_finds(empty_machine, tmp_path, monkeypatch):
    own = put(tmp_path / "own" / "toy.bin")
    monkeypatch.setenv("MODA_WEIGHTS", str(own.parent))
    (tmp_path / "cache").write_text("a file where the cache directory should be")
    assert weights.find("toy") == own


def test_moda_weights_that_is_no_directory_is_an_error(empty_machine, monkeypatch):
    monkeypatch.setenv("MODA_WEIGHTS", "/no/such/place")
    with pytest.raises(UserError, match="MODA_WEIGHTS"):
        weights.find("toy")


def test_directory_is_checked_by_its_probe(empty_machine, tmp_path, monkeypatch):
    directory = dataclasses.replace(empty_machine, filename="toy_data", probe="deep/base.obj")
    monkeypatch.setattr(registry, "REGISTRY", {"toy": directory})
    probe = put(tmp_path / "cache" / "moda" / "weights" / "toy_data" / "deep" / "base.obj")
    assert weights.find("toy") == probe.parents[1]
    probe.unlink()
    with pytest.raises(UserError, match=r"base\.obj is missing"):
        weights.find("toy")


def test_registry_is_consistent():
    filenames = [weight.filename for weight in registry.REGISTRY.values()]
    assert len(set(filenames)) == len(filenames)
    for name, weight in registry.REGISTRY.items():
        assert name == weight.name
        assert weight.download or weight.packaged, f"{name} can be had nowhere"
        assert (weight.download or weight.source).startswith("https://")
        assert "/" not in weight.filename
        assert weight.size or weight.about
        assert not weight.files or weight.probe in weight.files


@pytest.mark.parametrize("name", [name for name, w in registry.REGISTRY.items() if w.packaged])
def test_packaged_copies_are_the_registered_files(name, tmp_path, monkeypatch):
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if locate.locate(name) is None:
        pytest.skip(f"{registry.REGISTRY[name].packaged} is not installed")
    path = weights.find(name)
    size = registry.REGISTRY[name].size
    assert size is None or path.stat().st_size == size
