"""A note on videos that were cropped in different ways."""

from dataclasses import replace
from pathlib import Path

import pytest
from video_support import PROTOCOL, items_of, measured, two_extractors, write_video

from moda.eval.videos import measure as measuring
from moda.eval.videos.measure import Item, Measured, Plan, measure
from moda.eval.videos.report.cropping import notes_on_crops
from moda.eval.videos.rows import Row
from moda.face.crop import CropBox

ROWS = [
    Row("ground_truth", "ground truth", "reference", []),
    Row("codec_ceiling", "codec ceiling", "control", []),
    Row("x", "x", "method", []),
    Row("y", "y", "method", []),
]


def clips(*cropped: bool) -> list[Measured]:
    return [replace(measured(f"c{number}"), cropped=one) for number, one in enumerate(cropped)]


def test_how_many_of_each_row_were_cropped_in_which_way() -> None:
    found = {
        "ground_truth": clips(True, True), "codec_ceiling": clips(False, False),
        "x": clips(False, False), "y": clips(True, False),
    }  # fmt: skip
    [note] = notes_on_crops(ROWS, found)
    assert "cut out of 2 of ground truth, 1 of y; 2 of x, 1 of y are square already" in note


@pytest.mark.parametrize("cropped", [True, False])
def test_alike_is_no_note_whatever_the_controls_are(cropped: bool) -> None:
    found = {row.name: clips(cropped if row.kind != "control" else not cropped) for row in ROWS}
    found["x"] = [replace(measured("c0"), cropped=not cropped, num_frames=0)]  # it could not be read
    assert notes_on_crops(ROWS, found) == []


def test_what_is_measured_knows_whether_it_was_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "face_box", lambda *_: CropBox(0, 0, 64))
    wide = write_video(tmp_path / "wide.mp4", size=(64, 100))
    plan = Plan(PROTOCOL, two_extractors, tmp_path / "cache")
    found = measure([Item("a", wide, None, wide), *items_of(tmp_path, 1)], plan)
    assert [clip.cropped for clip in found] == [True, False]
    whole = Plan(replace(PROTOCOL, crop="frame"), two_extractors, tmp_path / "cache")
    assert not measure([Item("a", wide, None, wide)], whole)[0].cropped
