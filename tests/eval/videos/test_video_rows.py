from pathlib import Path

import numpy as np
import pytest
from video_support import PROTOCOL, write_video

from moda.audio.io import load_audio
from moda.errors import UserError
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.rows import Material, make_rows


def folder_of(root: Path, name: str, clips: int = 3, seed: int = 0) -> dict[str, Path]:
    return {f"c{i}": write_video(root / name / f"c{i}.mp4", 30 + 5 * i, seed=seed + i) for i in range(clips)}


def by_name(rows):
    return {row.name: row for row in rows}


def test_the_controls_are_made_from_the_reference(tmp_path: Path) -> None:
    material = Material({"one": folder_of(tmp_path, "one", seed=9)}, folder_of(tmp_path, "real"))
    rows = by_name(make_rows(material, tmp_path / "controls", PROTOCOL))
    assert list(rows) == ["ground_truth", "reencoded", "static", "mismatched_audio", "one"]
    assert [row.kind for row in rows.values()] == ["reference", "control", "control", "control", "method"]
    for key, again, still in zip(("c0", "c1", "c2"), rows["reencoded"].items, rows["static"].items, strict=True):
        truth = list(open_source(material.reference[key]).frames())
        copies, held = ([*open_source(item.video).frames()] for item in (again, still))
        assert len(truth) == len(copies) == len(held) and again.key == still.key == key
        assert np.mean([np.abs(a - b.astype(float)).mean() for a, b in zip(truth, copies, strict=True)]) < 6
        assert np.abs(held[-1] - truth[0].astype(float)).mean() < 6 < np.abs(truth[-1] - truth[0].astype(float)).mean()
        assert np.corrcoef(load_audio(again.video)[:16000], load_audio(material.reference[key])[:16000])[0, 1] > 0.9


def test_mismatched_audio_is_another_clips_at_the_own_length(tmp_path: Path) -> None:
    material = Material({"one": folder_of(tmp_path, "one", seed=9)}, folder_of(tmp_path, "real"))
    [row] = [row for row in make_rows(material, tmp_path / "controls", PROTOCOL) if row.name == "mismatched_audio"]
    sounds = {key: open_source(path).audio() for key, path in material.reference.items()}
    for item in row.items:
        assert item.video == material.reference[item.key] and item.sound is not None
        source = open_source(item.video, item.sound)
        heard = source.audio()
        assert len(heard) == source.num_frames * 640
        givers = [key for key, sound in sounds.items() if np.abs(heard[:8000] - sound[:8000].astype(float)).max() < 3]
        assert len(givers) == 1 and givers[0] != item.key


def test_without_a_reference_the_methods_are_the_basis(tmp_path: Path) -> None:
    methods = {name: folder_of(tmp_path, name, 2, seed) for name, seed in (("one", 0), ("two", 5))}
    rows = by_name(make_rows(Material(methods), tmp_path / "controls", PROTOCOL))
    assert list(rows) == ["static", "mismatched_audio", "one", "two"]
    assert [item.key for item in rows["static"].items] == ["c0@one", "c1@one"]  # both show the same portrait
    for item in rows["mismatched_audio"].items:
        given = open_source(item.video, item.sound).audio()
        for videos in methods.values():  # no method's sound of the same clip
            own = open_source(videos[item.key.partition("@")[0]]).audio()
            assert np.corrcoef(own[:16000], given[:16000])[0, 1] < 0.5
    assert not rows["mismatched_audio"].left_out


def test_a_reference_of_other_clips_has_its_rows_and_the_methods_their_controls(tmp_path: Path) -> None:
    material = Material(
        {"one": folder_of(tmp_path, "one", 2)},
        others={f"real{key}": path for key, path in folder_of(tmp_path, "real", 2, 9).items()},
        codec_spec={"_target_": "moda.codec.head.codec.HeadCodec", "size": 64, "supersample": 1},
    )
    rows = by_name(make_rows(material, tmp_path / "controls", PROTOCOL))
    assert list(rows) == ["reference_set", "reencoded", "codec_ceiling", "static", "mismatched_audio", "one"]
    assert rows["reference_set"].title == "ground truth (other clips)" and rows["reference_set"].kind == "reference"
    assert [item.key for item in rows["reencoded"].items] == ["realc0", "realc1"]
    assert set(rows["codec_ceiling"].left_out) == {"realc0", "realc1"}  # there is no face in them
    assert [item.key for item in rows["static"].items] == ["c0@one", "c1@one"]
    assert [item.key for item in rows["mismatched_audio"].items] == ["c0@one", "c1@one"]


def test_controls_are_made_once_and_again_where_the_video_is_another(tmp_path: Path) -> None:
    material = Material({"one": folder_of(tmp_path, "real")}, folder_of(tmp_path, "real"))
    make_rows(material, tmp_path / "controls", PROTOCOL)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "controls").rglob("*.*")}
    make_rows(material, tmp_path / "controls", PROTOCOL)
    assert first == {path: path.stat().st_mtime_ns for path in (tmp_path / "controls").rglob("*.*")}
    write_video(material.reference["c0"], 30, seed=77)
    make_rows(material, tmp_path / "controls", PROTOCOL)
    assert set(first) < set((tmp_path / "controls").rglob("*.*"))


def test_what_is_missing_on_either_side_is_left_out_by_name(tmp_path: Path) -> None:
    real, made = folder_of(tmp_path, "real", 2), folder_of(tmp_path, "one", 3)
    del made["c0"]
    rows = by_name(make_rows(Material({"one": made}, real), tmp_path / "controls", PROTOCOL))
    assert rows["one"].left_out == {"c2": "the reference has no such clip", "c0": "one has no such video"}
    assert [item.key for item in rows["ground_truth"].items] == ["c1"]


def test_clips_are_told_apart_by_their_whole_names(tmp_path: Path) -> None:
    real = {f"id10@s{i}": path for i, path in enumerate(folder_of(tmp_path, "real", 2).values())}
    for material in (Material({"one": real}, real), Material({"one": real, "t@o": real})):
        rows = by_name(make_rows(material, tmp_path / "controls", PROTOCOL))
        assert not rows["mismatched_audio"].left_out and len(rows["static"].items) == 2
        for item in rows["mismatched_audio"].items:
            own, given = open_source(item.video).audio(), open_source(item.video, item.sound).audio()
            assert np.corrcoef(own[:16000], given[:16000])[0, 1] < 0.5  # other noise


def test_a_single_clip_has_nobody_elses_sound_and_says_so(tmp_path: Path) -> None:
    one = folder_of(tmp_path, "real", 1)
    mute = {"mute": write_video(tmp_path / "real/mute.mp4", sound=False)}
    for material in (Material({"one": one}, one), Material({"one": one}), Material({"one": one, "two": one})):
        row = by_name(make_rows(material, tmp_path / "controls", PROTOCOL))["mismatched_audio"]
        assert not row.items and row.left_out
        assert set(row.left_out.values()) == {"there is no clip with another sound to give it"}
    rows = by_name(make_rows(Material({"one": one | mute}, one | mute), tmp_path / "controls", PROTOCOL))
    row = rows["mismatched_audio"]
    assert not row.items and "no clip with another" in row.left_out["c0"] and "no sound" in row.left_out["mute"]


def test_unreadable_and_silent_references_are_named_in_their_controls(tmp_path: Path) -> None:
    real = folder_of(tmp_path, "real", 2)
    real["mute"] = write_video(tmp_path / "real/mute.mp4", sound=False)
    real["text"] = tmp_path / "real/text.mp4"
    real["text"].write_text("this is a text and no video, whatever its name")
    rows = by_name(make_rows(Material({"one": real}, real), tmp_path / "controls", PROTOCOL))
    assert "no sound" in rows["static"].left_out["mute"] and "not a video" in rows["static"].left_out["text"]
    assert {item.key for item in rows["mismatched_audio"].items} == {"c0", "c1"}
    assert "no sound" in rows["mismatched_audio"].left_out["mute"]


def test_a_method_may_not_be_called_like_a_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rename its folder"):
        make_rows(Material({"static": folder_of(tmp_path, "static", 1)}), tmp_path, PROTOCOL)


def test_names_that_never_meet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give them the same names"):
        make_rows(Material({"m": {"a": tmp_path / "a"}}, {"b": tmp_path / "b"}), tmp_path, PROTOCOL)
