from dataclasses import replace

import numpy as np
import pytest

from moda.data_prep.items import ClipItem, VideoItem
from moda.data_prep.records import VideoRecord
from moda.data_prep.sources import Labels
from moda.data_prep.speakers import alike_across, alike_notes, join_speakers
from moda.data_prep.splits import split_speakers
from moda.errors import UserError

RNG = np.random.default_rng(0)
PEOPLE = RNG.normal(size=(6, 128)) / np.sqrt(128) * 0.7  # apart by about 1, as dlib's are


def record(number: int, person: int | None, speaker: str | None = None) -> VideoRecord:
    """A video of a person, in other light each time."""
    face = [] if person is None else (PEOPLE[person] + RNG.normal(size=128) * 0.02).tolist()
    clip = ClipItem(f"key-{number}", 0, 30, (0, 0, 1), {}, [], face=face)
    return VideoRecord(f"{number}.mp4", f"{number:016x}", VideoItem(clips=[clip]), Labels(speaker or f"v{number}"))


def speakers(records: list[VideoRecord]) -> list[str]:
    return [record.labels.speaker for record in records]


def test_videos_of_one_face_are_one_speaker():
    order = [0, 1, 0, 2, 1, 1, 3, 0]
    joined = join_speakers([record(k, person) for k, person in enumerate(order)], [], apart=0.6)
    assert speakers(joined) == ["v0", "v1", "v0", "v3", "v1", "v1", "v6", "v0"]


def test_who_is_named_by_a_sidecar_keeps_the_name_and_gives_it_to_the_rest():
    records = [record(0, 0), record(1, 0, "ann"), record(2, 0, "her twin"), record(3, 1)]
    for number in (1, 2):
        labels = replace(records[number].labels, named=True)
        records[number] = replace(records[number], labels=labels)
    joined = speakers(join_speakers(records, [], apart=0.6))
    assert joined[1:] == ["ann", "her twin", "v3"] and joined[0] in ("ann", "her twin")


def test_new_videos_join_the_people_of_a_data_set_who_keep_their_names():
    known = [record(0, 0, "ann"), record(1, 1, "bob")]
    joined = join_speakers([record(2, 1), record(3, 4), record(4, None)], known, apart=0.6)
    assert speakers(joined) == ["bob", "v3", "v4"]


def test_one_person_in_two_splits_is_found():
    records = [record(0, 0, "ann"), record(1, 1, "bob"), record(2, 0, "anna"), record(3, None, "who")]
    splits = {"train": ["ann", "bob", "who"], "test": ["anna"]}
    assert alike_across(records, splits, apart=0.6) == [("ann", "anna")]
    assert alike_across(records[1:], {"test": ["anna"]}, apart=0.6) == []


def test_a_held_out_speaker_has_one_line_and_many_have_few():
    assert alike_notes([]) == []
    one, two = alike_notes([("ann", "anna"), ("bob", "rob"), ("ben", "rob"), ("bart", "rob")])
    assert one.startswith("ann (train) and anna (held out) look like one person; ")
    assert two.startswith("bob and 2 more (train) and rob (held out) look like one person; ")
    lines = alike_notes([("ann", f"v{index}") for index in range(40)])
    assert len(lines) == 6 and lines[-1] == "35 more held-out speakers look like speakers of train"


def test_speakers_of_a_data_set_that_grows_stay_where_they_are():
    names = [f"s{k}" for k in range(10)]
    before = split_speakers(names[:6], 0.2, 0.2)
    after = split_speakers(names, 0.2, 0.2, before=before)
    assert all(set(members) <= set(after[split]) for split, members in before.items())
    assert sorted(name for members in after.values() for name in members) == sorted(names)
    with pytest.raises(UserError, match="in the shards of train already"):
        split_speakers(names, 0.2, 0.2, {"test": before["train"][:1]}, before=before)
