from pathlib import Path
from types import SimpleNamespace

import pytest

from moda.data import shared_memory
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data.share import readers_that_fit
from moda.data.shared_memory import bytes_ahead, require_shared_memory, window_bytes
from moda.data.windows import collate, cut_window
from moda.errors import UserError


def test_a_window_is_counted_as_it_is_handed_over(tiny_dataset: Path) -> None:
    manifest = DatasetManifest.load(tiny_dataset)
    clip = next(iter(FeatureShards(tiny_dataset, "train")))
    batch = collate([cut_window(clip, 0, 16, 4, manifest.statistics)] * 3)
    handed = sum(batch[name].nbytes for name in ("motion", "valid", "audio", "identity"))
    assert handed == 3 * window_bytes(manifest, 16, 4)


def test_too_little_shared_memory_is_said_before_a_reader_dies_of_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 10**6))
    needed = bytes_ahead(1_500_000, micro_batch=4, readers=8, prefetch=4)
    assert needed == 1_500_000 * 4 * 33
    with pytest.raises(UserError, match=r"up to 0.2 GB .* has 0.064 GB free; .*--shm-size.*data.num_workers=8"):
        require_shared_memory(needed, readers=8)
    require_shared_memory(63 * 10**6, readers=1)
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path / "none")  # not Linux
    require_shared_memory(needed, readers=8)


@pytest.mark.parametrize(
    ("shards", "ranks", "cores", "readers"), [(64, 8, 8, 7), (64, 8, 64, 8), (16, 8, 8, 2), (4, 8, 8, 0), (64, 1, 1, 0)]
)
def test_readers_are_as_many_as_shards_and_cores_allow(shards, ranks, cores, readers) -> None:
    assert readers_that_fit(shards, ranks, cores) == readers
