"""What the scan of a shard's headers finds and refuses."""

import io
import tarfile
from pathlib import Path

import pytest
from data_support import members_of, rewrite

from moda.data import index
from moda.data.index import scan
from moda.data.schema import FEATURE_MEMBERS, DatasetManifest
from moda.errors import UserError


@pytest.fixture
def root(make_dataset) -> Path:
    return make_dataset()


def test_the_index_finds_the_bytes_of_every_member(root: Path) -> None:
    path = root / DatasetManifest.load(root).shards[0].features
    content, known = path.read_bytes(), dict(members_of(path))
    found = scan(path)
    assert found.keys == ("ann_000", "ann_001") and found.ignored == ()
    reads: list[tuple[int, int]] = []

    def read(first: int, end: int) -> memoryview:
        reads.append((first, end))
        return memoryview(content)[first:end]

    for position, key in enumerate(found.keys):
        members = found.members(position, read)
        assert {f"{key}.{kind}": bytes(data) for kind, data in members.items()} == {
            name: data for name, data in known.items() if name.startswith(key)
        }
    assert len(reads) == 2 and reads[0][1] <= reads[1][0]  # one read a sample, of its own bytes


def test_a_name_too_long_for_a_plain_header_is_read(root: Path) -> None:
    key = "k" * 128
    path = rewrite(root, lambda members: [(key + name[name.index(".") :], data) for name, data in members[:4]])
    assert scan(path).keys == (key,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: [*members, ("ann_009.pkl", b"x")], "holds the member 'ann_009.pkl'; only json, motion.npy"),
        (lambda members: [("../" + name, data) for name, data in members], "is read|are read|sample key"),
        (lambda members: [("a b" + name, data) for name, data in members], "sample key 'a bann_000'"),
        (lambda members: [(name.upper(), data) for name, data in members], "'ANN_000.AUDIO.NPY'"),
        (lambda members: [*members[:4], *members[4:], *members[:4]], "holds sample 'ann_000' in two places"),
        (lambda members: [members[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)], "holds sample 'ann_000' in two places"),
        (lambda members: [members[0], *members], "holds the member 'ann_000.audio.npy' twice"),
        (lambda members: [("ann_000.json", b" " * (2**20 + 1))], "ann_000.json has 1048577 bytes, more than"),
    ],
    ids=["other member", "path", "space", "upper case", "sample twice", "interleaved", "member twice", "large"],
)
def test_a_shard_that_is_not_of_the_format_is_refused(root: Path, change, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        scan(rewrite(root, change))
    assert "features-000000.tar" in str(caught.value) or "sample key" in str(caught.value)


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_what_is_no_regular_file_is_never_read(root: Path) -> None:
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
    entries = [entry(f"bob_00{i}.json", kind, "/etc/passwd") for i, kind in enumerate(kinds)]
    found = scan(rewrite(root, lambda members: members, entries=entries))
    assert found.keys == ("ann_000", "ann_001")
    assert found.ignored == tuple(info.name for info in entries)


def test_a_sparse_member_cannot_claim_more_than_there_is(root: Path) -> None:
    sparse = tarfile.TarInfo("bob_000.json")
    sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(2**40),
                          "GNU.sparse.map": "0,0", "GNU.sparse.name": "bob_000.json"}  # fmt: skip
    assert scan(rewrite(root, lambda members: members, entries=[sparse])).ignored == ("bob_000.json",)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_tar_cut_short_is_damaged_or_has_fewer_samples(root: Path, share: float) -> None:
    path = root / DatasetManifest.load(root).shards[0].features
    path.chmod(0o644)
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * share)])
    try:
        assert len(scan(path)) < 2
    except UserError as error:
        assert "is damaged" in str(error) and "features-000000.tar" in str(error)


def test_garbage_is_a_damaged_shard(root: Path) -> None:
    path = root / DatasetManifest.load(root).shards[0].features
    path.chmod(0o644)
    path.write_bytes(b"\x55" * path.stat().st_size)
    with pytest.raises(UserError, match="features-000000.tar is damaged"):
        scan(path)


def test_the_limit_holds_for_arrays(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(index, "DEFAULT_LIMIT", 1000)
    path = root / DatasetManifest.load(root).shards[0].features
    with pytest.raises(UserError, match=r"ann_000.motion.npy has \d+ bytes, more than the 1000 allowed"):
        scan(path)


def test_an_empty_tar_has_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    with tarfile.open(path, "w"):
        pass
    assert len(scan(path)) == 0 and scan(path).places.shape == (0, len(FEATURE_MEMBERS), 2)
    path.write_bytes(io.BytesIO().getvalue())
    with pytest.raises(UserError, match="damaged"):
        scan(path)
