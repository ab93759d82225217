"""moda inspect: one page that holds everything, and says what is in the data set."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prep_fakes import square, tone

from moda.cli.main import main
from moda.data.lint import lint
from moda.data.schema import DatasetManifest
from moda.data_prep.card import write_card
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings


@pytest.fixture
def dataset(settings: PrepareSettings, make_video) -> Path:
    for number, name in enumerate(("ann", "bob", "cid", "dan")):
        make_video(f"{name}/<1>.mp4", [square(40 + 5 * number, 60, 40)] * 30, sound=tone(1.2))
    (settings.source / "ann/<1>.json").write_text(json.dumps({"emotion": "happiness", "emotion_intensity": 0.5}))
    make_video("nobody.mp4", [square(0, 0, 0)] * 30, sound=tone(1.2))
    make_video("mute.mp4", [square(60, 60, 40)] * 30)
    prepare(settings)
    return settings.out


def test_the_card_tells_what_is_in_it_and_what_is_not(dataset: Path, capsys):
    assert main(["inspect", str(dataset)]) == 0
    assert f"card: {dataset / 'card.html'}" in capsys.readouterr().out
    page = (dataset / "card.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page  # nothing to be fetched
    assert "<b>4</b><span>clips</span>" in page and "<b>4</b><span>of 6 videos used</span>" in page
    assert "happiness" in page and "no face was found in it" in page and "it has no sound track" in page
    assert page.count('src="data:video/mp4;base64,') == 4 and page.count("<svg") >= 3
    assert page.count('title="nobody.mp4"') == 1  # its picture
    assert "moda does not know" in page


def test_the_card_does_not_promise_what_does_not_hold(dataset: Path):
    manifest = DatasetManifest.load(dataset)
    write_card(dataset)
    assert "No speaker is in two splits." in (dataset / "card.html").read_text()
    (held_out,) = manifest.splits["test"]
    splits = manifest.splits | {"train": [*manifest.splits["train"], held_out]}
    replace(manifest, splits=splits).save(dataset)
    page = write_card(dataset).read_text()
    assert f"In more than one split: {held_out}." in page and "No speaker is in two splits" not in page


def test_what_is_refused_is_shown(settings: PrepareSettings, make_video):
    make_video("half.mp4", [square(60, 60, 40)] * 100, sound=np.concatenate([tone(1.8), np.zeros(35_200, np.float32)]))
    make_video("mute.mp4", [square(60, 60, 40)] * 30)  # refused before it is looked at
    prepare(settings)
    assert main(["inspect", str(settings.out)]) == 0
    page = (settings.out / "card.html").read_text()
    assert "its sound is silent" in page and "it has no sound track" in page
    assert page.count('title="half.mp4"') == page.count('title="mute.mp4"') == 1
    assert "<b>1</b><span>clips</span>" in page
    assert page.count('alt=""') == 3  # and what is used


def test_another_place_and_what_is_no_data_set(dataset: Path, tmp_path: Path, capsys):
    assert main(["inspect", str(dataset), "--out", str(tmp_path / "x.html")]) == 0 and (tmp_path / "x.html").is_file()
    (tmp_path / "folder").mkdir()
    assert main(["inspect", str(dataset), "--out", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder" / "card.html").is_file()
    assert main(["inspect", str(tmp_path)]) == 1 and "is not a prepared data set" in capsys.readouterr().err


def test_a_data_set_without_records_or_videos_has_a_card_too(tiny_dataset: Path, tmp_path: Path):
    assert main(["inspect", str(tiny_dataset), "--out", str(tmp_path / "x.html")]) == 0
    page = (tmp_path / "x.html").read_text()
    assert "<video" not in page and "What is not in it" not in page and "<b>12</b><span>clips</span>" in page


def test_lint_holds_records_against_shards(dataset: Path):
    assert lint(dataset).findings == ()
    path = dataset / "videos-000000.jsonl"
    lines = path.read_text().splitlines()
    gone = next(line for line in lines[1:] if json.loads(line)["item"]["clips"])
    path.write_text("\n".join(line for line in lines if line != gone))
    assert [finding.problem for finding in lint(dataset).findings] == ["no source video names the clip"]
    path.write_text("\n".join([*lines, gone]))
    assert [finding.problem for finding in lint(dataset).findings] == ["the clip is named twice"]
    path.unlink()
    assert "it is not there" in lint(dataset).findings[0].problem


def test_lint_and_inspect_read_records_as_they_are_written(dataset: Path, capsys):
    path = dataset / "videos-000000.jsonl"
    head, *lines = path.read_text().splitlines()
    whole = [json.loads(line) for line in lines]

    def problems(head: str, records: list[dict]) -> list[str]:
        path.write_text("\n".join([head, *map(json.dumps, records)]))
        return [finding.problem for finding in lint(dataset).findings]

    assert problems(head, whole) == []
    stranger = [record | {"labels": record["labels"] | {"speaker": "eve"}} for record in whole]
    assert [problem.partition(",")[0] for problem in problems(head, stranger)] == [
        "the clip is said to be of 'eve'"
    ] * 4
    for damaged in (
        ("[]", whole),
        (head, [record | {"item": record["item"] | {"left_out": 7}} for record in whole]),
        (head, [record | {"labels": record["labels"] | {"speaker": 7}} for record in whole]),
    ):
        (problem,) = problems(*damaged)
        assert problem.startswith("it is damaged")
        assert main(["inspect", str(dataset)]) == 1 and capsys.readouterr().err.count("\n") == 1


def test_labels_and_their_intensity_are_in_the_shards(dataset: Path):
    from moda.data.shards import FeatureShards

    manifest = DatasetManifest.load(dataset)
    records = [clip.record for split in manifest.splits for clip in FeatureShards(dataset, split)]
    told = {record.speaker: (record.emotion, record.emotion_intensity) for record in records}
    assert told["ann"] == ("happiness", 0.5) and told["bob"] == (None, None)
    assert all(np.isfinite(list(record.quality.values())).all() for record in records)
