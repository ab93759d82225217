import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moda.data.schema import DatasetManifest
from moda.data.shards import CorruptSampleError, FeatureShards
from moda.errors import UserError

Members = list[tuple[str, bytes]]


def members_of(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def rewrite(root: Path, change: Callable[[Members], Members], shard: int = 0) -> Path:
    """Change the members of a train shard and let the manifest know its new size."""
    manifest = DatasetManifest.load(root)
    path = root / manifest.shards[shard].features
    members = change(members_of(path))
    path.unlink()
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shards = list(manifest.shards)
    shards[shard] = replace(shards[shard], bytes=path.stat().st_size)
    replace(manifest, shards=tuple(shards)).save(root)
    return path


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def replaced(suffix: str, data: bytes) -> Callable[[Members], Members]:
    """Give the first sample other content for one member."""

    def change(members: Members) -> Members:
        key = members[0][0].partition(".")[0]
        return [(name, data if name == f"{key}.{suffix}" else old) for name, old in members]

    return change


def test_reads_every_clip_of_a_split_in_order(tiny_dataset: Path) -> None:
    shards = FeatureShards(tiny_dataset, "train")
    clips = list(shards)
    assert [clip.key for clip in clips] == [f"{name}_{n:03d}" for name in ("ann", "bob") for n in range(3)]
    assert sum(shards.sizes) == len(clips) == 6
    for clip in clips:
        assert clip.motion.shape == (clip.record.num_frames, 59) and clip.motion.dtype == np.float32
        assert clip.audio.shape == (clip.record.num_frames, 1, 6) and clip.audio.dtype == np.float16


def test_only_the_wanted_positions_are_decoded(tiny_dataset: Path) -> None:
    found = list(FeatureShards(tiny_dataset, "train").read(0, positions={1}))
    assert [(position, clip.key) for position, clip in found] == [(1, "ann_001")]


def test_a_shard_cut_short_is_named_with_both_sizes(make_dataset) -> None:
    root = make_dataset()
    path = root / DatasetManifest.load(root).shards[0].features
    path.chmod(0o644)
    whole = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(whole // 2)
    with pytest.raises(UserError, match=f"features-000000.tar has {whole // 2} bytes.*says {whole}; copy it again"):
        FeatureShards(root, "train")


def test_a_missing_shard_and_a_path_out_of_the_data_set_are_refused(make_dataset) -> None:
    root = make_dataset()
    manifest = DatasetManifest.load(root)
    (root / manifest.shards[0].features).unlink()
    with pytest.raises(UserError, match="is missing"):
        FeatureShards(root, "train")
    outside = replace(manifest, shards=(replace(manifest.shards[0], features="../other.tar"),))
    with pytest.raises(UserError, match="outside the data set"):
        FeatureShards(root, "train", outside)


class Payload:
    def __reduce__(self):
        return (open, ("pickle-was-executed", "w"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members[1:], "no member audio.npy"),
        (replaced("motion.npy", npy(np.zeros((3, 59), np.float32))), r"motion.npy is \(3, 59\)"),
        (replaced("identity.npy", npy(np.full(5, np.nan, np.float32))), "identity.npy holds NaN"),
        (replaced("identity.npy", npy(np.zeros(5, np.int64))), "expected floating point"),
        (replaced("audio.npy", b"\x93NUMPY"), "audio.npy cannot be read"),
        (replaced("identity.npy", npy(np.array([Payload()]), pickled=True)), "identity.npy cannot be read"),
        (replaced("json", b"[]"), "not a clip record"),
        (replaced("json", json.dumps({"schema": 1, "crop": [], "notes": []}).encode()), "not a clip record"),
    ],
    ids=["missing member", "shape", "nan", "dtype", "truncated", "pickle", "json list", "json fields"],
)
def test_a_corrupt_sample_is_named_with_its_shard(make_dataset, tmp_path, monkeypatch, change, message) -> None:
    monkeypatch.chdir(tmp_path)
    root = make_dataset()
    rewrite(root, change)
    with pytest.raises(CorruptSampleError, match=f"features-000000.tar, sample 'ann_000': .*{message}"):
        list(FeatureShards(root, "train"))
    assert not Path("pickle-was-executed").exists()


def test_a_policy_may_leave_corrupt_samples_out(make_dataset) -> None:
    root = make_dataset()
    rewrite(root, replaced("audio.npy", b"broken"))
    heard: list[CorruptSampleError] = []
    found = list(FeatureShards(root, "train").read(0, on_corrupt=heard.append))
    assert [clip.key for _, clip in found] == ["ann_001"]
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: [*members, ("ann_009.pkl", b"x")], "holds the member 'ann_009.pkl'"),
        (lambda members: [("../" + name, data) for name, data in members], "is read|are read|sample key"),
        (lambda members: members[:4], "holds 1 samples, dataset.json says 2"),
        (lambda members: members[:4] + members[4:] + members[:4], "in two places"),
    ],
    ids=["pickle member", "path in key", "too few", "twice"],
)
def test_a_shard_that_is_not_as_described_is_refused(make_dataset, change, message) -> None:
    root = make_dataset()
    rewrite(root, change)
    with pytest.raises(UserError, match=message):
        list(FeatureShards(root, "train"))


def test_a_link_is_not_followed(make_dataset, tmp_path) -> None:
    root = make_dataset()
    path = rewrite(root, lambda members: members)
    members = members_of(path)
    (tmp_path / "secret.npy").write_bytes(members[2][1])
    path.unlink()
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if name == "ann_000.identity.npy":
                info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.npy")
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    manifest = DatasetManifest.load(root)
    shards = (replace(manifest.shards[0], bytes=path.stat().st_size), *manifest.shards[1:])
    replace(manifest, shards=shards).save(root)
    with pytest.raises(CorruptSampleError, match="no member identity.npy"):
        list(FeatureShards(root, "train"))


def test_garbage_of_the_right_size_is_a_damaged_shard(make_dataset) -> None:
    root = make_dataset()
    path = root / DatasetManifest.load(root).shards[0].features
    path.chmod(0o644)
    path.write_bytes(b"\x55" * path.stat().st_size)
    with pytest.raises(UserError, match="features-000000.tar is damaged"):
        list(FeatureShards(root, "train"))
