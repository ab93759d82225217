"""What moda lint finds: each fault of a data set is one line with its shard and key."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import members_of, npy, replaced, rewrite, spoil_all

from moda.bench.synthetic import write_synthetic
from moda.cli.main import main
from moda.data.lint import lint
from moda.data.module import ShardDataModule
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.motion.statistics import MotionStatistics

FIRST = "train/features-000000.tar"


def lines(root: Path, **settings) -> list[str]:
    return [str(finding) for finding in lint(root, **settings).findings]


def edit(root: Path, **changes) -> None:
    replace(DatasetManifest.load(root), **changes).save(root)


def test_a_data_set_that_is_made_to_measure_with_is_a_good_one(tmp_path: Path) -> None:
    assert lines(write_synthetic(tmp_path / "set", shards=1, seconds=1)) == []


def test_a_good_data_set_has_no_findings(tiny_dataset: Path, capsys) -> None:
    report = lint(tiny_dataset)
    assert (report.findings, report.shards, report.samples) == ((), 7, 12)
    assert main(["lint", str(tiny_dataset), "--jobs", "1"]) == 0
    assert "nothing wrong in 7 shards, 12 samples decode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (replaced("motion.npy", npy(np.zeros((3, 59), np.float32))), "ann_000: motion.npy is (3, 59) float32"),
        (replaced("identity.npy", npy(np.full(5, np.nan, np.float32))), "ann_000: identity.npy holds NaN"),
        (replaced("audio.npy", npy(np.zeros((0, 1, 6), np.float16))), "ann_000: audio.npy is (0, 1, 6) float16"),
        (replaced("json", b"{}"), "ann_000: clip None has schema None"),
        (lambda members: members[1:], "ann_000: no member audio.npy"),
        (lambda members: [*members, ("ann_009.pkl", b"x")], "holds the member 'ann_009.pkl'"),
        (lambda members: [members[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)], "holds sample 'ann_000' in two places"),
        (lambda members: members[4:], "it holds 1 samples, dataset.json says 2"),
        (
            lambda members: [*members, *[("x" + n, d) for n, d in members[:4]]],
            "it holds 3 samples, dataset.json says 2",
        ),
    ],
    ids=["shape", "nan", "no sound", "json", "no member", "other member", "interleaved", "too few", "too many"],
)
def test_a_fault_of_a_shard_is_named_with_its_shard(make_dataset, change: Callable, found: str) -> None:
    root = make_dataset()
    rewrite(root, change)
    got = lines(root)
    assert sum(found in line for line in got) == 1
    assert all(line.startswith(FIRST) and "\n" not in line and str(root) not in line for line in got)


def test_every_bad_sample_is_a_line_and_the_good_ones_still_count(make_dataset) -> None:
    root = make_dataset()
    rewrite(root, spoil_all)
    report = lint(root)
    assert [(finding.where, finding.key) for finding in report.findings] == [(FIRST, "ann_000"), (FIRST, "ann_001")]
    assert report.samples == 10


def test_a_file_cut_short_or_changed_or_lost_is_found(make_dataset) -> None:
    root = make_dataset()
    paths = [root / shard.features for shard in DatasetManifest.load(root).shards]
    for path in paths[:2]:
        path.chmod(0o644)
    with open(paths[0], "r+b") as file:
        file.truncate(1000)
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1  # in the padding at the end: no sample is touched
    paths[1].write_bytes(content)
    paths[2].unlink()
    cut, changed, lost = lines(root)
    assert cut.startswith(f"{FIRST}: has 1000 bytes, dataset.json says")
    assert changed == "train/features-000001.tar: its SHA-256 is not the one in dataset.json"
    assert lost.startswith("train/features-000002.tar: is missing")


def test_links_and_files_that_nobody_knows_are_named(make_dataset) -> None:
    root = make_dataset()
    link = tarfile.TarInfo("ann_007.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    rewrite(root, lambda members: members, entries=[link])
    shutil.copy(root / FIRST, root / "train/features-000099.tar")
    assert sorted(lines(root)) == [
        f"{FIRST}: the entry 'ann_007.json' is no regular file and is not read",
        "train/features-000099.tar: the file is not in dataset.json",
    ]


def test_a_key_in_two_shards_is_found(make_dataset) -> None:
    root = make_dataset()
    manifest = DatasetManifest.load(root)
    first = members_of(root / manifest.shards[0].features)
    rewrite(root, lambda _: first, shard=1)
    got = lines(root)
    assert f"train/features-000001.tar ann_000: the key is also in {FIRST}" in got
    assert f"train/features-000001.tar ann_001: the key is also in {FIRST}" in got


def test_a_speaker_in_two_splits_is_found(make_dataset) -> None:
    root = make_dataset()
    edit(root, splits={"train": ["ann", "bob"], "val": ["cid", "ann"], "test": ["dan"]})
    assert lines(root) == ["dataset.json: speaker 'ann' is in more than one split: train, val"]

    edit(root, splits={"train": ["ann"], "val": ["cid", "bob"], "test": ["dan"]})
    got = lines(root)
    assert len(got) == 3
    assert "bob_000: speaker 'bob' belongs to val, by dataset.json" in got[0]
    assert lines(root, split="val") == []


@pytest.mark.parametrize("name", ["mean", "std"])
def test_statistics_of_other_data_are_found(make_dataset, name: str) -> None:
    root = make_dataset()
    statistics = DatasetManifest.load(root).statistics
    values = {"mean": statistics.mean.copy(), "std": statistics.std.copy()}
    values[name][3] += 1e-3
    edit(root, statistics=MotionStatistics(statistics.layout, **values, count=statistics.count))
    (line,) = lines(root)
    assert (
        line.startswith("dataset.json: the ")
        and f"of 1 dimensions is not that of the train split, as {statistics.layout.names[3]}" in line
    )
    assert lines(root, split="test") == []


def test_the_frames_are_counted(make_dataset) -> None:
    root = make_dataset()
    manifest = DatasetManifest.load(root)
    first = manifest.shards[0]
    edit(root, shards=(replace(first, num_frames=first.num_frames + 1), *manifest.shards[1:]))
    assert lines(root) == [f"{FIRST}: it holds {first.num_frames} frames, dataset.json says {first.num_frames + 1}"]


def test_a_fingerprint_of_other_content_is_found(make_dataset) -> None:
    root = make_dataset()
    edit(root, fingerprint="of another data set")
    assert lines(root) == ["dataset.json: its fingerprint is not that of the shards and components it names"]


def test_what_readers_do_not_look_at_is_verified_too(make_dataset) -> None:
    root = make_dataset()
    record = json.loads(dict(members_of(root / FIRST))["ann_000.json"])
    rewrite(root, replaced("json", json.dumps({**record, "speaker": ["ann"]}).encode()))
    assert lines(root) == [f"{FIRST} ann_000: its json member: its speaker is ['ann'], expected str"]


JUNK = (None, "x", -1, 1.5, True, float("nan"), [], {}, ["a"], {"a": 1}, "../../etc/passwd")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    children = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*place, name))


def test_no_dataset_json_is_answered_with_a_traceback(make_dataset) -> None:
    root = make_dataset(clips=1)
    good = json.loads((root / "dataset.json").read_text())
    for place in places(good):
        for junk in JUNK:
            spoiled = {"": json.loads(json.dumps(good))}
            at: Any = spoiled
            for name in ("", *place)[:-1]:
                at = at[name]
            at[("", *place)[-1]] = junk
            (root / "dataset.json").write_text(json.dumps(spoiled[""]))
            for look in (lint, partial(ShardDataModule, window=16, previous=2, batch_size=4, seed=0)):
                with suppress(UserError):
                    look(root)


def test_several_processes_find_the_same_in_the_same_order(make_dataset) -> None:
    root = make_dataset()
    for shard in range(5):
        rewrite(root, spoil_all, shard)
    assert lines(root, jobs=2) == lines(root, jobs=1) != []


def test_the_command_prints_a_line_each_writes_json_and_fails(make_dataset, tmp_path: Path, capsys) -> None:
    root = make_dataset()
    rewrite(root, replaced("audio.npy", b"broken"))
    assert main(["lint", str(root), "--jobs", "1", "--json", str(tmp_path / "found.json")]) == 1
    out = capsys.readouterr().out.splitlines()
    (line,) = [line for line in out if line.startswith(f"{FIRST} ann_000: audio.npy cannot be read")]
    assert out[-1].endswith(": 1 finding in 7 shards, 11 samples decode")
    value = json.loads((tmp_path / "found.json").read_text())
    assert (value["shards"], value["samples"]) == (7, 11)
    (finding,) = value["findings"]
    assert (finding["where"], finding["key"]) == (FIRST, "ann_000") and finding["problem"] in line


def test_what_is_no_data_set_or_split_is_the_users_error(tiny_dataset: Path, tmp_path: Path, capsys) -> None:
    assert main(["lint", str(tmp_path)]) == 1
    assert "is not a prepared data set" in capsys.readouterr().err
    assert main(["lint", str(tiny_dataset), "--jobs", "0"]) == 1
    assert "--jobs 0" in capsys.readouterr().err
