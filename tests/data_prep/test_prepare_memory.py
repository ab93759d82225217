"""Memory does not grow with the number of videos, nor with the length of one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prep_fakes import square, tone

from moda.data.schema import DatasetManifest
from moda.data_prep.extract import Extractor
from moda.data_prep.items import VideoItem
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings

STATM = Path("/proc/self/statm")


def resident() -> float:
    """Megabytes of this process."""
    return int(STATM.read_text().split()[1]) * 4096 / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not STATM.is_file(), reason="memory is read as Linux tells it")
def test_a_thousand_clips_take_no_more_memory_than_a_hundred(settings: PrepareSettings, make_video, monkeypatch):
    made = make_video("0000.mp4", [square(20, 20, 24, (64, 64))] * 25, sound=tone(1.0))
    for number in range(1, 1000):
        unlike = b"\0\0\0\x0cfree" + number.to_bytes(4, "big")  # a box that players pass over
        (settings.source / f"{number:04d}.mp4").write_bytes(made.read_bytes() + unlike)
    held: list[float] = []
    whole = Extractor.process

    def process(self: Extractor, *arguments) -> VideoItem:
        item = whole(self, *arguments)
        held.append(resident())
        return item

    monkeypatch.setattr(Extractor, "process", process)
    manifest = prepare(replace(settings, shard_size=128))
    packed = resident()
    assert isinstance(manifest, DatasetManifest) and sum(shard.num_samples for shard in manifest.shards) == 1000
    print(f"{held[99]:.0f} MB after 100 videos, {held[999]:.0f} after 1000, {packed:.0f} when they are packed")
    # 900 clips' sound alone is 28 MB, their frames ten times that; what the allocator has not given back varies by a few
    assert np.median(held[-20:]) - np.median(held[90:110]) < 20
    assert packed - held[-1] < 64
