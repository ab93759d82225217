from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from video_support import PROTOCOL, MeanExtractor, items_of, two_extractors, write_video

from moda.errors import UserError
from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.measure import VIDEO, Item, Plan, measure


def test_an_entry_that_is_half_written_counts_as_absent(tmp_path: Path) -> None:
    cache, key = FeatureCache(tmp_path), {"video": "a"}
    cache.save(key, {"x": np.arange(1000)})
    assert key in cache and np.array_equal(cache.load(key)["x"], np.arange(1000))
    path = cache.path(key)
    path.write_bytes(path.read_bytes()[:500])
    assert key not in cache
    with pytest.raises(KeyError):
        cache.load(key)


def test_failures_are_kept_with_their_reason(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.save_failure({"k": 1}, "no face")
    assert {"k": 1} in cache
    with pytest.raises(UserError, match="no face"):
        cache.load({"k": 1})


def test_one_failing_extractor_leaves_the_others_alone(tmp_path: Path) -> None:
    items = [*items_of(tmp_path / "v"), Item("text", tmp_path / "text.mp4")]
    (tmp_path / "text.mp4").write_text("hello, I am a text and no video")
    plan = Plan(PROTOCOL, two_extractors, tmp_path / "cache")
    found = measure(items, plan)
    assert [clip.num_frames for clip in found] == [20, 21, 22, 0]
    assert found[0].problems == {"video": "it is too dark"} and found[0].get("video") is None
    assert found[3].problems[VIDEO].startswith("it is not a video") and found[3].get("image") is None
    features = found[1].get("image")
    assert features is not None and features["features"].shape == (21, 3)


def test_two_processes_measure_what_one_does_and_nothing_twice(tmp_path: Path) -> None:
    items = items_of(tmp_path / "v", 4)
    one, two = (measure(items, Plan(PROTOCOL, two_extractors, tmp_path / f"cache{n}"), n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        ours, theirs = a.get("image"), b.get("image")
        assert ours is not None and theirs is not None
        assert np.array_equal(ours["features"], theirs["features"]) and a.problems == b.problems
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache1").rglob("*.npz")}
    renamed = replace(items[0], video=items[0].video.rename(tmp_path / "v" / "other name.mp4"))
    measure([renamed, *items[1:]], Plan(PROTOCOL, two_extractors, tmp_path / "cache1"))
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache1").rglob("*.npz")}


def test_another_crop_is_another_entry(tmp_path: Path) -> None:
    [item] = items_of(tmp_path / "v", 1)
    cache = tmp_path / "cache"
    for size in (64, 32):
        measure([item], Plan(replace(PROTOCOL, size=size), two_extractors, cache))
    assert len(list(cache.rglob("*.npz"))) == 4


def test_frames_of_another_shape_than_the_reference_are_refused(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mp4", size=(64, 100))
    other = write_video(tmp_path / "other.mp4", size=(64, 128))
    [found] = measure([Item("a", wide, None, other)], Plan(PROTOCOL, two_extractors, tmp_path / "cache"))
    assert "neither square nor of the size of the reference's" in found.problems[VIDEO]


def test_without_a_face_there_is_nothing_to_crop_by(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mp4", size=(64, 100))
    [found] = measure([Item("a", wide, None, wide)], Plan(PROTOCOL, two_extractors, tmp_path / "cache"))
    assert "a face was found in 0 of 6 frames" in found.problems[VIDEO]


def test_the_stand_in_of_a_test_reacts_to_what_is_in_the_frames(tmp_path: Path) -> None:
    [item] = items_of(tmp_path / "v", 1)
    [found] = measure([item], Plan(PROTOCOL, lambda device: [MeanExtractor()], tmp_path / "cache"))
    features = found.get("image")
    assert features is not None
    assert np.allclose(np.diff(features["features"][:, 0]), 2, atol=0.5)
