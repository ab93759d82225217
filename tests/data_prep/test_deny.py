"""Nobody on the list is trained on, under whatever name they came and in whichever copy of the file."""

from dataclasses import replace

import pytest
from prep_fakes import square, tone

from moda.data_prep.deny import denied_speakers, deny_notes, read_deny_list
from moda.data_prep.items import ClipItem, VideoItem
from moda.data_prep.pipeline import prepare
from moda.data_prep.records import VideoRecord
from moda.data_prep.settings import PrepareSettings, SplitSettings
from moda.data_prep.sources import Labels
from moda.errors import UserError


def record(speaker: str, file: str, *, used: bool = True, content: str = "") -> VideoRecord:
    clips = [ClipItem(file, 0, 30, (0, 0, 1), {}, [])] if used else []
    return VideoRecord(file, f"digest of {file}", VideoItem(clips=clips, sha256=content or file), Labels(speaker))


def renamed(one: VideoRecord, speaker: str) -> VideoRecord:
    return replace(one, labels=replace(one.labels, speaker=speaker))


VIDEOS = [
    record("ann", "a/1.mp4"),
    record("bob", "b/RD_Radio1_000.mp4"),
    record("bob", "b/2.mp4"),
    record("cid", "c/1.mp4"),
    record("dan", "x/9.mp4"),
]


def test_speakers_and_those_of_videos_are_found(tmp_path):
    (tmp_path / "deny.txt").write_text("# of the published test set\nann\nRD_Radio1_000   # HDTF\n\nx/9.mp4\nnobody\n")
    deny = read_deny_list(tmp_path / "deny.txt")
    assert denied_speakers(VIDEOS, VIDEOS, deny) == ["ann", "bob", "dan"]
    assert denied_speakers(VIDEOS, VIDEOS, frozenset()) == []
    with pytest.raises(UserError, match="splits.deny"):
        read_deny_list(tmp_path / "missing.txt")
    (tmp_path / "deny.txt").write_text("ann\nbob\n", "utf-8-sig")
    assert read_deny_list(tmp_path / "deny.txt") == {"ann", "bob"}


def test_a_video_that_cannot_be_used_denies_its_speaker():
    said = [record("ann", "a/1.mp4", used=False), record("ann", "a/2.mp4"), record("bob", "b/1.mp4")]
    assert denied_speakers(said, said, frozenset({"a/1.mp4"})) == ["ann"]


def test_who_is_denied_stays_so_under_the_name_of_another():
    said = [record("bob", "b/1.mp4"), record("alice", "a/1.mp4"), record("cid", "c/1.mp4")]
    joined = [said[0], renamed(said[1], "bob"), said[2]]
    assert denied_speakers(said, joined, frozenset({"alice"})) == ["bob"]


def test_a_copy_of_a_denied_video_denies_whoever_keeps_it():
    said = [record("crawl", "crawl/a.mp4", content="same"), record("hdtf", "test/HDTF_1.mp4", content="same")]
    kept = [said[0], record("hdtf", "test/HDTF_1.mp4", used=False, content="same")]
    assert denied_speakers(said, kept, frozenset({"HDTF_1"})) == ["crawl"]


def test_names_that_match_nothing_are_said():
    assert deny_notes(VIDEOS, frozenset({"ann", "2.mp4", "RD_Radio1_000"})) == []
    (line,) = deny_notes(VIDEOS, frozenset({"ann", "An", *(f"x{number}" for number in range(7))}))
    assert "An, x0, x1, x2, x3 and 3 more" in line


def test_a_prepared_corpus_trains_on_no_copy_of_a_denied_video(settings: PrepareSettings, make_video, tmp_path):
    for name in ("crawl", "hdtf", "other", "more"):
        (settings.source / name).mkdir(parents=True, exist_ok=True)
    first = make_video("crawl/a.mp4", [square(20, 20, 24, (64, 64))] * 30, sound=tone(1.2))
    (settings.source / "hdtf/WDA_X_000.mp4").write_bytes(first.read_bytes())
    for number, name in enumerate(("other", "more")):
        make_video(f"{name}/b.mp4", [square(20, 20, 30 + 4 * number, (64, 64))] * 30, sound=tone(1.2))
    (tmp_path / "deny.txt").write_text("WDA_X_000\nnobody\n")
    splits = SplitSettings(val=0, test=0, deny=str(tmp_path / "deny.txt"))
    manifest = prepare(replace(settings, splits=splits))
    assert list(manifest.splits["test"]) == ["crawl"] and sorted(manifest.splits["train"]) == ["more", "other"]
    assert "no speaker or video of this corpus with nobody" in (settings.out / "report.json").read_text()


@pytest.fixture
def finished(settings: PrepareSettings, make_video) -> PrepareSettings:
    """Four speakers, all in train, in a data set that is whole."""
    for number, name in enumerate(("ann", "bob", "cid", "dan")):
        make_video(f"{name}/1.mp4", [square(20, 20, 24 + 4 * number, (64, 64))] * 30, sound=tone(1.2))
    open_to_all = replace(settings, splits=SplitSettings(val=0, test=0))
    prepare(open_to_all)
    return open_to_all


def test_a_whole_data_set_that_trains_on_somebody_denied_or_pinned_elsewhere_is_refused(
    finished: PrepareSettings, tmp_path, capsys
):
    (tmp_path / "deny.txt").write_text("ann\n")
    denied = replace(finished.splits, deny=str(tmp_path / "deny.txt"))
    with pytest.raises(UserError, match=r"'ann' is in the shards of train already and cannot go to test.*anew"):
        prepare(replace(finished, splits=denied))
    with pytest.raises(UserError, match="'bob' is in the shards of train already and cannot go to val"):
        prepare(replace(finished, splits=replace(finished.splits, pinned={"val": ["bob"]})))
    (tmp_path / "deny.txt").write_text("nobody\n")
    prepare(replace(finished, splits=denied))
    assert "nothing to do" in capsys.readouterr().out


def test_who_was_denied_once_is_denied_when_the_data_set_grows(finished: PrepareSettings, make_video, tmp_path):
    (tmp_path / "deny.txt").write_text("eve\n")
    make_video("fay/1.mp4", [square(20, 20, 44, (64, 64))] * 30, sound=tone(1.2))
    prepare(replace(finished, splits=replace(finished.splits, deny=str(tmp_path / "deny.txt"))))
    for side, name in ((48, "eve"), (52, "gus")):  # without the list, twice
        make_video(f"{name}/1.mp4", [square(8, 8, side, (64, 64))] * 30, sound=tone(1.2))
        manifest = prepare(finished)
    assert manifest.splits["test"] == ["eve"] and {"fay", "gus"} < set(manifest.splits["train"])
