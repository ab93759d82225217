from pathlib import Path

import pytest

from moda.errors import UserError
from moda.files import read_json
from moda.training.checkpoints.manifest import MANIFEST, damage, describe, files_of_rank, newest_complete, seal
from moda.training.checkpoints.writer import CheckpointWriter

STATE = "weights-00000.safetensors"


def checkpoint(root: Path, step: int) -> Path:
    path = root / f"step-{step}"
    path.mkdir(parents=True)
    (path / STATE).write_bytes(bytes(range(256)) * step)
    seal(path, step, {"layout": "head59"}, {STATE: describe(path / STATE)})
    return path


def test_the_newest_by_number_is_taken(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        checkpoint(tmp_path, step)
    (tmp_path / ".step-200.tmp").mkdir()
    assert newest_complete(tmp_path) == tmp_path / "step-100"
    assert newest_complete(tmp_path / "nothing") is None


def truncate(path: Path) -> None:
    (path / STATE).write_bytes((path / STATE).read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray((path / STATE).read_bytes())
    data[5] ^= 1
    (path / STATE).write_bytes(data)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda path: (path / MANIFEST).unlink(), "no manifest.json"),
        (lambda path: (path / STATE).unlink(), "weights-00000.safetensors is missing"),
        (lambda path: (path / MANIFEST).write_text("{"), "cannot be read"),
        (truncate, "511 bytes instead of 512"),
        (flip, "hash"),
    ],
)
def test_an_incomplete_one_is_ignored_with_its_reason(tmp_path: Path, break_it, reason: str) -> None:
    checkpoint(tmp_path, 1)
    break_it(checkpoint(tmp_path, 2))
    said: list[str] = []
    assert newest_complete(tmp_path, said.append) == tmp_path / "step-1"
    assert len(said) == 1 and "step-2" in said[0] and reason in said[0]


def test_the_manifest_seals_every_file(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    value = read_json(path / MANIFEST)
    assert value["step"] == 3 and value["identity"] == {"layout": "head59"} and set(value["files"]) == {STATE}
    assert damage(path) is None


def test_each_rank_seals_its_own_files_and_nobody_those_half_written(tmp_path: Path) -> None:
    for name in ("trainer.json", "loader-00000.json", "loader-00001.json", ".loader-00001.4242.tmp.json"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of_rank(tmp_path, 0)] == ["loader-00000.json", "trainer.json"]
    assert [path.name for path in files_of_rank(tmp_path, 1)] == ["loader-00001.json"]


def test_keeping_one_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="checkpoint.keep=1"):
        CheckpointWriter(tmp_path, every=10, keep=1)
