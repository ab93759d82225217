import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from moda.data.schema import ClipRecord
from moda.data.writer import Sample, dataset_fingerprint, plan_shards, write_shard
from moda.errors import UserError
from moda.files import sha256_of


def sample(folder: Path, key: str = "clip", frames: int = 10, seed: int = 0, split: str = "train", **arrays) -> Sample:
    rng = np.random.default_rng(seed)
    record = ClipRecord(key, split, "ann", "ann/a.mp4", 0.0, frames, 25, (32.0, 32.0, 64.0), notes=("a note",))
    for suffix in ("mp4", "flac"):
        (folder / f"{key[:20]}.{suffix}").write_bytes(f"{key} {suffix}".encode())
    values = {
        "motion": rng.normal(size=(frames, 59)).astype(np.float32),
        "identity": rng.normal(size=63).astype(np.float32),
        "audio": rng.normal(size=(frames, 1, 4)).astype(np.float32),
    } | arrays
    return Sample(record, **values, video=folder / f"{key[:20]}.mp4", sound=folder / f"{key[:20]}.flac")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize(("count", "longest"), [(1, 10), (3, 10), (8, 256), (9, 4), (1000, 256), (257, 256)])
def test_the_plan_covers_all_samples_once_in_equal_parts(count: int, longest: int):
    parts = plan_shards(count, longest)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) <= longest and max(lengths) - min(lengths) <= 1


def test_a_small_set_has_shards_to_share():
    assert len(plan_shards(8, 256)) == 4
    assert len(plan_shards(3, 256)) == 1  # a shard for one clip shares nothing


def test_what_is_written_is_what_is_read(tmp_path: Path):
    given = [sample(tmp_path, "a", 10, 1), sample(tmp_path, "b", 12, 2)]
    shard = write_shard(tmp_path / "set", "train", 3, given)
    assert (shard.features, shard.num_samples, shard.num_frames) == ("train/features-000003.tar", 2, 22)
    features, video = members(tmp_path / "set" / shard.features), members(tmp_path / "set" / str(shard.video))
    assert [name.split(".")[0] for name in features] == ["a"] * 4 + ["b"] * 4  # a key's members stand together
    assert ClipRecord.from_dict(json.loads(features["a.json"])) == given[0].record
    (tmp_path / "motion.npy").write_bytes(features["b.motion.npy"])
    motion = np.load(tmp_path / "motion.npy", allow_pickle=False)
    assert motion.dtype == np.float32 and np.array_equal(motion, given[1].motion)
    (tmp_path / "audio.npy").write_bytes(features["b.audio.npy"])
    assert np.load(tmp_path / "audio.npy", allow_pickle=False).dtype == np.float16
    assert video == {"a.mp4": b"a mp4", "a.flac": b"a flac", "b.mp4": b"b mp4", "b.flac": b"b flac"}
    assert shard.sha256 == sha256_of(tmp_path / "set" / shard.features)


def test_the_same_clips_give_the_same_bytes_and_another_sample_another_fingerprint(tmp_path: Path):
    shards = [
        write_shard(tmp_path / name, "train", 0, [sample(tmp_path, "a", seed=seed)])
        for name, seed in (("one", 1), ("two", 1), ("three", 2))
    ]
    prints = [dataset_fingerprint([shard], {"codec": 1}, "c", {}, "a") for shard in shards]
    assert shards[0].sha256 == shards[1].sha256 and prints[0] == prints[1] != prints[2]
    for others in (({"codec": 2}, "c", {}, "a"), ({"codec": 1}, "d", {}, "a"), ({"codec": 1}, "c", {}, "b")):
        assert dataset_fingerprint([shards[0]], *others) != prints[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "../../etc/passwd"}, "is not of the form"),
        ({"split": "val"}, "belongs to val"),
        ({"motion": np.zeros((9, 59))}, "10 frames"),
        ({"motion": np.zeros(59)}, "10 frames"),
        ({"audio": np.full((10, 1, 4), np.nan)}, "NaN"),
        ({"audio": np.full((10, 1, 4), 1e6)}, "infinity"),  # beyond float16
    ],
)
def test_a_wrong_sample_is_refused_and_leaves_nothing(tmp_path: Path, settings: dict, message: str):
    key = settings.pop("key", "clip")
    good = sample(tmp_path, "clip", **settings)
    wrong = Sample(
        ClipRecord(**{**good.record.to_dict(), "key": key}),
        good.motion,
        good.identity,
        good.audio,
        good.video,
        good.sound,
    )
    with pytest.raises(UserError, match=message):
        write_shard(tmp_path / "set", "train", 0, [sample(tmp_path, "before"), wrong])
    assert not list((tmp_path / "set").rglob("*.tar"))


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="twice"):
        write_shard(tmp_path / "set", "train", 0, [sample(tmp_path), sample(tmp_path)])


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moda.data.writer.TarWriter.write", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_shard(tmp_path / "set", "train", 0, [sample(tmp_path)])
    assert not any(path.is_file() for path in (tmp_path / "set").rglob("*"))
