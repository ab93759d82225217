"""Reading video shards: only what was asked for, only what may be there."""

import io
import tarfile

import numpy as np
import pytest

from moda.data.media import iterate_frames, pick_frames, read_sounds, read_video
from moda.data.schema import DatasetManifest
from moda.errors import UserError


def test_sound_and_frames_of_a_clip(filmed_dataset):
    manifest = DatasetManifest.load(filmed_dataset)
    sounds = read_sounds(filmed_dataset, manifest, "test", {"dan_000", "dan_002"})
    assert set(sounds) == {"dan_000", "dan_002"}
    video = read_video(filmed_dataset, manifest, "test", "dan_000")
    frames = list(iterate_frames(video))
    assert len(sounds["dan_000"]) == 640 * len(frames)
    assert frames[0].shape == (64, 64, 3)
    picked = pick_frames(video, [0, 7, 10_000])
    assert set(picked) == {0, 7} and np.array_equal(picked[7], frames[7])
    assert read_video(filmed_dataset, manifest, "test", "nobody") is None


def test_a_data_set_without_video_has_no_sound(tiny_dataset):
    assert read_sounds(tiny_dataset, DatasetManifest.load(tiny_dataset), "test", {"dan_000"}) == {}


@pytest.mark.parametrize("name", ["dan_000.pkl", "../dan_000.mp4", "dan 000.mp4"])
def test_other_members_are_refused(filmed_dataset, name):
    manifest = DatasetManifest.load(filmed_dataset)
    with tarfile.open(filmed_dataset / manifest.shards[0].video, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(UserError):
        read_sounds(filmed_dataset, manifest, "test", {"dan_000"})


def test_damage_is_one_line(filmed_dataset):
    manifest = DatasetManifest.load(filmed_dataset)
    path = filmed_dataset / manifest.shards[0].video
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="video-000000.tar"):
        read_sounds(filmed_dataset, manifest, "test", {"dan_002"})
    with pytest.raises(UserError, match="cannot be decoded"):
        list(iterate_frames(b"this is no video"))
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        read_video(filmed_dataset, manifest, "test", "dan_000")
