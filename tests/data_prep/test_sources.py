import json
import os
from pathlib import Path

import pytest

from moda.data.schema import KEY_PATTERN
from moda.data_prep.corpora import get_corpus
from moda.data_prep.sources import Source, find_sources, passed_over, read_labels
from moda.errors import UserError


def test_finds_every_kind_of_video_below_and_nothing_hidden(tmp_path: Path):
    for name in ("a.mp4", "b/c.MOV", "b/d/e.webm", ".hidden.mp4", ".work/x.mp4", "notes.txt", "b/clip.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [source.relative for source in find_sources(tmp_path)] == ["a.mp4", "b/c.MOV", "b/d/e.webm"]


def test_a_link_that_leads_back_up_does_not_go_round(tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(find_sources(tmp_path)) == 1


def test_a_folder_without_videos_or_no_folder_is_one_clear_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no video"):
        find_sources(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_sources(tmp_path / "missing")


@pytest.mark.parametrize(
    "name",
    [
        "a b/ü.mp4",
        "../../etc/passwd.mp4",
        "$(rm -rf x).mp4",
        "-o.mp4",
        ".mp4",
        "x" * 300 + ".mp4",
        "a\nb.mp4",
        "\udcff.mp4",
    ],
)
def test_keys_are_safe_whatever_the_file_is_called(name: str):
    source = Source(Path("/videos") / name, name)
    key = source.key(3)
    assert KEY_PATTERN.fullmatch(key) and not key.startswith("-")
    assert source.name.isprintable() and source.name.encode()


def test_keys_differ_where_readable_parts_are_the_same():
    names = ["a b.mp4", "a_b.mp4", "a/b.mp4", "a-b.mp4", "a b.mov"]
    assert len({Source(Path(name), name).key(0) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("relative", "rule", "speaker"),
    [
        ("anna.mp4", "parent", "anna"),
        ("anna/1.mp4", "parent", "anna"),
        ("anna/take/1.mp4", "parent", "anna/take"),
        ("anna/take/1.mp4", "top", "anna"),
        ("anna/take/1.mp4", "file", "anna/take/1"),
    ],
)
def test_speaker_from_the_folders(tmp_path: Path, relative: str, rule: str, speaker: str):
    assert read_labels(Source(tmp_path / relative, relative), rule).speaker == speaker


def labels_with(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    return read_labels(Source(tmp_path / "x.mp4", "x.mp4"))


def test_sidecar_gives_speaker_and_emotion(tmp_path: Path):
    labels = labels_with(tmp_path, json.dumps({"speaker": "Bert", "emotion": "sadness", "text": "ignored"}))
    assert (labels.speaker, labels.emotion, labels.notes) == ("Bert", "sadness", ())
    assert labels.named and not labels_with(tmp_path, "{}").named


@pytest.mark.parametrize(
    "text",
    [
        '{"emotion": "jolly"}',
        '{"emotion": ["anger"]}',
        '{"speaker": 5}',
        '{"speaker": ""}',
        "[1]",
        "{broken",
        "\x00",
        "[" * 10**6,
    ],
)
def test_a_wrong_sidecar_is_noted_and_left_out(tmp_path: Path, text: str):
    labels = labels_with(tmp_path, text)
    assert (labels.speaker, labels.emotion) == ("x", None)
    assert len(labels.notes) == 1


def test_a_sidecar_may_begin_with_a_byte_order_mark(tmp_path: Path):
    labels = labels_with(tmp_path, '\ufeff{"speaker": "Bert"}')
    assert (labels.speaker, labels.notes) == ("Bert", ())


def test_sidecar_gives_the_emotion_s_intensity(tmp_path: Path):
    labels = labels_with(tmp_path, '{"emotion": "anger", "emotion_intensity": 0.4}')
    assert (labels.emotion, labels.intensity, labels.notes) == ("anger", 0.4, ())
    assert labels_with(tmp_path, '{"emotion": "anger"}').intensity is None


@pytest.mark.parametrize("intensity", ["1.5", "-0.1", '"strong"', "true", "NaN"])
def test_an_intensity_that_is_none_is_noted_and_left_out(tmp_path: Path, intensity: str):
    labels = labels_with(tmp_path, f'{{"emotion": "anger", "emotion_intensity": {intensity}}}')
    assert labels.emotion == "anger" and labels.intensity is None and len(labels.notes) == 1


def test_an_intensity_without_an_emotion_is_noted(tmp_path: Path):
    labels = labels_with(tmp_path, '{"emotion_intensity": 0.5}')
    assert labels.intensity is None and "no emotion" in labels.notes[0]


def test_of_two_ways_to_a_folder_the_first_by_name_is_gone(tmp_path: Path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/1.mp4").touch()
    (tmp_path / "a").symlink_to("b")
    walk = os.walk

    def backwards(*arguments, **options):
        for here, folders, files in walk(*arguments, **options):
            folders.sort(reverse=True)  # as a disk may list them
            yield here, folders, files

    monkeypatch.setattr(os, "walk", backwards)
    assert [source.relative for source in find_sources(tmp_path)] == ["a/1.mp4"]


def test_videos_that_an_adapter_does_not_know_are_counted_and_named(tmp_path: Path):
    for name in ("RD_Ann_000.mp4", "b.mp4", "c.ts", "d.mpg", "e.mkv"):
        (tmp_path / name).touch()
    assert passed_over(tmp_path, find_sources(tmp_path)) == []
    (line,) = passed_over(tmp_path, get_corpus("hdtf").find(tmp_path))
    assert line == "4 videos are not named as this corpus has them: b.mp4, c.ts, d.mpg and 1 more"
