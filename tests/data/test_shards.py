import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_support import npy, replaced, rewrite

from moda.data.schema import DatasetManifest
from moda.data.shards import CorruptSampleError, FeatureShards
from moda.errors import UserError


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


def of_record(**fields):
    """Give the first sample's record other values."""

    def change(members):
        record = json.loads(next(data for name, data in members if name.endswith("json"))) | fields
        return replaced("json", json.dumps(record).encode())(members)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members[1:], "no member audio.npy"),
        (replaced("motion.npy", npy(np.zeros((3, 59), np.float32))), r"motion.npy is \(3, 59\)"),
        (replaced("identity.npy", npy(np.full(5, np.nan, np.float32))), "identity.npy holds NaN"),
        (replaced("identity.npy", npy(np.zeros(5, np.int64))), "expected floating point"),
        (replaced("audio.npy", b"\x93NUMPY"), "audio.npy cannot be read"),
        (replaced("audio.npy", b""), "audio.npy cannot be read"),
        (replaced("audio.npy", npy(np.zeros((0, 1, 6), np.float16))), r"audio.npy is \(0, 1, 6\)"),
        (replaced("identity.npy", npy(np.zeros(5, np.float32))[:-4]), "144 bytes instead of 148"),
        (replaced("identity.npy", npy(np.zeros(5, np.float32)) + b"more"), "152 bytes instead of 148"),
        (replaced("identity.npy", npy(np.full(5, np.inf, np.float16))), "identity.npy holds NaN or infinity"),
        (replaced("identity.npy", npy(np.full(5, 1e300))), "identity.npy holds NaN or infinity"),
        (replaced("identity.npy", npy(np.array([Payload()]), pickled=True)), "identity.npy cannot be read"),
        (replaced("json", b"[]"), "not a clip record"),
        (replaced("json", b"{"), "Expecting property name"),
        (replaced("json", b"\xff\xfe\x00"), "its json member is no text"),
        (of_record(emotion="joy"), "unknown emotion 'joy'"),
        (of_record(num_frames="60"), "it has 60 frames"),
        (of_record(key="bob_000"), "says clip 'bob_000'"),
        (replaced("json", json.dumps({"schema": 1, "crop": [], "notes": []}).encode()), "not a clip record"),
    ],
    ids=[
        "missing member",
        "shape",
        "nan",
        "dtype",
        "cut header",
        "empty",
        "no sound",
        "cut",
        "too long",
        "inf",
        "overflow",
        "pickle",
        "json list",
        "bad json",
        "binary json",
        "emotion",
        "frames",
        "key",
        "json fields",
    ],
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


def test_fewer_samples_than_the_manifest_says_are_found_before_any_is_read(make_dataset) -> None:
    root = make_dataset()
    rewrite(root, lambda members: members[:4])  # a whole tar of the size in the manifest
    with pytest.raises(UserError, match="features-000000.tar holds 1 samples, dataset.json says 2; copy or prepare"):
        FeatureShards(root, "train").verify()
    with pytest.raises(UserError, match="holds 1 samples"):
        FeatureShards(root, "train").load(0, 0)


def test_each_part_of_a_sample_may_stand_in_any_order(make_dataset) -> None:
    root = make_dataset()
    before = list(FeatureShards(root, "train"))
    rewrite(root, lambda members: members[3::-1] + members[:3:-1])
    for clip, known in zip(FeatureShards(root, "train"), before, strict=True):
        assert clip.record == known.record
        for name in ("motion", "identity", "audio"):
            np.testing.assert_array_equal(getattr(clip, name), getattr(known, name))


def test_arrays_of_other_floating_types_and_orders_are_read(make_dataset) -> None:
    root = make_dataset()
    clip = next(iter(FeatureShards(root, "train")))
    rewrite(root, replaced("motion.npy", npy(np.asfortranarray(clip.motion.astype(">f8")))))
    found = next(iter(FeatureShards(root, "train")))
    assert found.motion.dtype == np.float32
    np.testing.assert_array_equal(found.motion, clip.motion)


def test_many_shards_need_few_open_files(tiny_dataset: Path, monkeypatch) -> None:
    monkeypatch.setattr("moda.data.shards.OPEN_FILES", 1)
    shards = FeatureShards(tiny_dataset, "train")
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("counts the files of this process in /proc")
    before = len(list(folder.iterdir()))
    keys = [clip.key for clip in shards] + [clip.key for clip in shards]
    assert len(set(keys)) == 6
    assert len(list(folder.iterdir())) == before + 1


def test_shards_travel_to_a_process_that_starts_afresh(tiny_dataset: Path) -> None:
    shards = FeatureShards(tiny_dataset, "train")
    first = shards.load(0, 0)
    copy = pickle.loads(pickle.dumps(shards))  # noqa: S301
    np.testing.assert_array_equal(copy.load(0, 0).motion, first.motion)
