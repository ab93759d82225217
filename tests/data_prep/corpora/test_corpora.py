"""Each corpus from a small made-up tree of its own layout."""

import json
from pathlib import Path

import pytest

from moda.data_prep.corpora import CORPORA, get_corpus
from moda.data_prep.sources import Labels, read_labels
from moda.errors import UserError


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def found(name: str, folder: Path) -> dict[str, Labels]:
    return {source.relative: read_labels(source) for source in get_corpus(name).find(folder)}


def test_hdtf(tmp_path: Path):
    tree(tmp_path, "WDA/WDA_AdamSchiff_000.mp4", "WDA/WDA_AdamSchiff_003.mp4", "WRA_MikeJohanns1_000.mp4",
         "WRA_MikeJohanns2_000.mp4", "RD/RD_Radio1_000.mp4", "RD/RD_Radio11_000.mp4", "hdtf_WDA_Ann_Lee_001.mp4", "other.mp4")  # fmt: skip
    assert {name: label.speaker for name, label in found("hdtf", tmp_path).items()} == {
        "WDA/WDA_AdamSchiff_000.mp4": "WDA_AdamSchiff", "WDA/WDA_AdamSchiff_003.mp4": "WDA_AdamSchiff",
        "WRA_MikeJohanns1_000.mp4": "WRA_MikeJohanns", "WRA_MikeJohanns2_000.mp4": "WRA_MikeJohanns",
        "RD/RD_Radio1_000.mp4": "RD_Radio1", "RD/RD_Radio11_000.mp4": "RD_Radio11",
        "hdtf_WDA_Ann_Lee_001.mp4": "WDA_Ann_Lee",
    }  # fmt: skip


def test_hdtf_names_are_one_whatever_their_capitals(tmp_path: Path):
    tree(tmp_path, "WRA_MikeJohanns_000.mp4", "wra_mikejohanns_001.mp4", "WRA_MIKEJohanns2_000.mp4")
    assert len({label.speaker for label in found("hdtf", tmp_path).values()}) == 1


def test_celebv_hq(tmp_path: Path):
    tree(tmp_path, "35666/M2Ohb0FAaJU_1.mp4", "35666/M2Ohb0FAaJU_2.mp4", "35666/notlisted01_1.mp4")
    clips = {
        "M2Ohb0FAaJU_1": {"ytb_id": "M2Ohb0FAaJU", "attributes": {"emotion": {"sep_flag": False, "labels": "happy"}}},
        "M2Ohb0FAaJU_2": {"ytb_id": "M2Ohb0FAaJU", "attributes": {"emotion": {"sep_flag": True, "labels": [
            {"emotion": "neutral", "start_sec": 0, "end_sec": 1}]}}},
        "gone0000000_1": {"ytb_id": "gone0000000"},
    }  # fmt: skip
    (tmp_path / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))
    assert found("celebv_hq", tmp_path) == {
        "35666/M2Ohb0FAaJU_1.mp4": Labels("M2Ohb0FAaJU", "happiness"),
        "35666/M2Ohb0FAaJU_2.mp4": Labels("M2Ohb0FAaJU"),
    }
    (tmp_path / "celebvhq_info.json").write_text("[]")
    with pytest.raises(UserError, match="holds no clips"):
        found("celebv_hq", tmp_path)


def test_celebv_text(tmp_path: Path):
    tree(
        tmp_path,
        "videos/-0Yq_1x2Zab_3.mp4",
        "videos/-0Yq_1x2Zab_3_0.mp4",
        "videos/abcdefghijk_10.mp4",
        "videos/odd.mp4",
    )
    assert {name: label.speaker for name, label in found("celebv_text", tmp_path).items()} == {
        "videos/-0Yq_1x2Zab_3.mp4": "-0Yq_1x2Zab", "videos/-0Yq_1x2Zab_3_0.mp4": "-0Yq_1x2Zab",
        "videos/abcdefghijk_10.mp4": "abcdefghijk",
    }  # fmt: skip
    (tmp_path / "celebvtext_info.json").write_text(json.dumps({"clips": {"odd": {"ytb_id": "zzzzzzzzzzz"}}}))
    assert found("celebv_text", tmp_path)["videos/odd.mp4"].speaker == "zzzzzzzzzzz"
    clips = {"odd": {}, "abcdefghijk_10": {"ytb_id": ""}, "-0Yq_1x2Zab_3": {"description": "x"}}
    (tmp_path / "celebvtext_info.json").write_text(json.dumps({"clips": clips}))
    assert {name: label.speaker for name, label in found("celebv_text", tmp_path).items()} == {
        "videos/-0Yq_1x2Zab_3.mp4": "-0Yq_1x2Zab", "videos/-0Yq_1x2Zab_3_0.mp4": "-0Yq_1x2Zab",
        "videos/abcdefghijk_10.mp4": "abcdefghijk", "videos/odd.mp4": "odd",
    }  # fmt: skip


def test_mead(tmp_path: Path):
    tree(tmp_path, "M003/video/front/angry/level_3/001.mp4", "M003/video/front/neutral/level_1/002.mp4",
         "M003/video/left_30/angry/level_3/001.mp4", "M003/audio/angry/level_3/001.m4a", "W009/video/front/odd/level_1/1.mp4",
         "set/W011/video/front/surprised/level_2/007.mp4")  # fmt: skip
    assert found("mead", tmp_path) == {
        "M003/video/front/angry/level_3/001.mp4": Labels("M003", "anger", 1.0),
        "M003/video/front/neutral/level_1/002.mp4": Labels("M003", "neutral", 0.333),
        "set/W011/video/front/surprised/level_2/007.mp4": Labels("W011", "surprise", 0.667),
    }
    sounds = {source.relative: source.sound for source in get_corpus("mead").find(tmp_path)}
    assert sounds["M003/video/front/angry/level_3/001.mp4"] == tmp_path / "M003/audio/angry/level_3/001.m4a"
    assert sounds["M003/video/front/neutral/level_1/002.mp4"] is None


def test_ravdess(tmp_path: Path):
    tree(tmp_path, "Video_Speech_Actor_12/Actor_12/01-01-06-02-02-01-12.mp4", "Actor_01/01-01-02-01-01-01-01.mp4",
         "Actor_01/02-01-06-01-02-01-01.mp4", "Actor_01/01-02-06-01-02-01-01.mp4")  # fmt: skip
    assert found("ravdess", tmp_path) == {
        "Actor_01/01-01-02-01-01-01-01.mp4": Labels("Actor_01", "neutral", 0.5),
        "Video_Speech_Actor_12/Actor_12/01-01-06-02-02-01-12.mp4": Labels("Actor_12", "fear", 1.0),
    }


def test_talkvid(tmp_path: Path):
    tree(tmp_path, "clips/videovideoTr6MMsoWAog-scene1-scene1.mp4", "clips/b.mp4", "clips/c.mp4")
    entries = [
        {"id": "videovideoTr6MMsoWAog-scene1-scene1", "info": {"Person ID": "597", "Language": "English"}},
        {"id": "b"},
    ]
    (tmp_path / "filtered_video_clips.json").write_text(json.dumps(entries))
    assert {name: label.speaker for name, label in found("talkvid", tmp_path).items()} == {
        "clips/videovideoTr6MMsoWAog-scene1-scene1.mp4": "person 597", "clips/b.mp4": "b"
    }  # fmt: skip


def test_talkvid_as_its_own_script_names_clips(tmp_path: Path):
    tree(
        tmp_path,
        "clips_output/Tr6_MMso-og/Tr6_MMso-og_001_0.100_5.141.mp4",  # times cut, not rounded
        "clips_output/Tr6_MMso-og/Tr6_MMso-og_NA_9.000_12.500.mp4",
        "clips_output/Tr6_MMso-og/Tr6_MMso-og_003_20.000_25.000.mp4",  # in no list
        "clips_output/Tr6_MMso-og/Tr6_MMso-og_001_0.100_5.141.f137.mp4",  # left over by the download
    )

    def entry(start: float, end: float, person: str) -> dict:
        info = {"Person ID": person, "Video Link": "https://www.youtube.com/watch?v=Tr6_MMso-og&t=3"}
        return {"id": f"x{start}", "start-time": start, "end-time": end, "info": info}

    (tmp_path / "data").mkdir()
    lists = [entry(0.1, 5.141666666666667, "597"), entry(9, 12.5, "598"), {"id": 3, "info": None}, "odd"]
    (tmp_path / "data" / "filtered_video_clips_with_captions.json").write_text(json.dumps(lists))
    assert {name.split("/")[-1]: label.speaker for name, label in found("talkvid", tmp_path).items()} == {
        "Tr6_MMso-og_001_0.100_5.141.mp4": "person 597", "Tr6_MMso-og_NA_9.000_12.500.mp4": "person 598"
    }  # fmt: skip


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_folder_that_is_not_the_corpus_is_refused(name: str, tmp_path: Path):
    tree(tmp_path, "a.mp4")
    with pytest.raises(UserError, match="holds no"):
        get_corpus(name).find(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        get_corpus(name).find(tmp_path / "missing")
    assert CORPORA[name].licence


def test_an_unknown_corpus_names_the_known_ones():
    with pytest.raises(UserError, match="hdtf, celebv_text, celebv_hq, mead, ravdess, talkvid"):
        get_corpus("voxceleb")
