from pathlib import Path

import numpy as np
import pytest

from moda.data.schema import (
    ClipRecord,
    DatasetManifest,
    Shard,
    check_key,
    emotion_index,
)
from moda.errors import UserError
from moda.files import read_json, write_json
from moda.motion import MotionStatistics, get_layout


def manifest() -> DatasetManifest:
    layout = get_layout("head59")
    return DatasetManifest(
        codec={"_target_": "moda.codec.head.HeadCodec"},
        codec_fingerprint="c",
        audio_encoder={"_target_": "moda.audio.logmel.LogMelEncoder"},
        audio_fingerprint="a",
        audio_layers=1,
        audio_dim=320,
        identity_dim=63,
        statistics=MotionStatistics(layout, np.zeros(59), np.ones(59), 10),
        splits={"train": ["ann", "bob"]},
        shards=(Shard("train", "train/features-000000.tar", None, 2, 50, 1024, "00"),),
        fingerprint="f",
    )


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest().save(tmp_path)
    again = DatasetManifest.load(tmp_path)
    assert again.shards == manifest().shards and again.layout.name == "head59"
    np.testing.assert_array_equal(again.statistics.std, np.ones(59))


def test_an_absent_split_says_which_there_are() -> None:
    with pytest.raises(UserError, match="no 'test' split, only train"):
        manifest().shards_of("test")


def test_a_folder_that_is_no_data_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: moda prepare"):
        DatasetManifest.load(tmp_path)


def test_layout_and_statistics_must_agree(tmp_path: Path) -> None:
    manifest().save(tmp_path)
    value = read_json(tmp_path / "dataset.json")
    write_json(tmp_path / "dataset.json", {**value, "layout": "liveportrait70"})
    with pytest.raises(UserError, match="liveportrait70 but statistics of head59"):
        DatasetManifest.load(tmp_path)


@pytest.mark.parametrize("key", ["../../etc/x", "a b", "", "x" * 129, "a/b", "ä"])
def test_hostile_keys_are_refused(key: str) -> None:
    with pytest.raises(UserError):
        check_key(key)


def test_emotions() -> None:
    assert emotion_index("anger") == 0 and emotion_index(None) == 8
    with pytest.raises(UserError, match="unknown emotion 'joy'; known: anger"):
        emotion_index("joy")


def test_clip_record_round_trip_and_other_schema() -> None:
    clip = ClipRecord("k", "train", "ann", "ann/a.mp4", 0.0, 50, 25, (1.0, 2.0, 3.0), notes=("2 faces",))
    assert ClipRecord.from_dict(clip.to_dict()) == clip
    with pytest.raises(UserError, match="schema 2"):
        ClipRecord.from_dict({**clip.to_dict(), "schema": 2})
