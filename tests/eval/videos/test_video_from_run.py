"""The videos of a run: made once, made again where something is missing or was changed."""

import dataclasses
from pathlib import Path

import pytest
from video_support import PROTOCOL, two_extractors

from moda.errors import UserError
from moda.eval.videos.evaluate import Request, evaluate
from moda.eval.videos.extractors.networks import Networks
from moda.eval.videos.from_run import RunSettings, videos_of_run
from moda.eval.videos.reading.source import open_source
from moda.files import sha256_of


@pytest.fixture
def made(filmed_dataset: Path, make_run, codec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """``made(**settings)``: the videos of a small run, in one process, drawn by the mouth codec."""
    monkeypatch.setattr("moda.eval.videos.from_run.load_codec", lambda spec, fingerprint: codec)
    settings = RunSettings(make_run(filmed_dataset), steps=1, device="cpu")

    def make(max_seconds: float = 12.0, **changes):
        return videos_of_run(dataclasses.replace(settings, **changes), tmp_path / "videos", max_seconds=max_seconds)

    return make


def files(videos) -> dict[Path, tuple[int, str]]:
    paths = [*videos.model.values(), *videos.mismatched.values(), *videos.reference.values()]
    return {path: (path.stat().st_mtime_ns, sha256_of(path)) for path in paths}


def test_every_clip_has_its_truth_the_models_and_the_controls_video(made):
    videos = made()
    assert videos.reference.keys() == videos.model.keys() == videos.mismatched.keys() == videos.sounds.keys()
    assert len(videos.model) > 1 and not videos.left_out
    for key, truth in videos.reference.items():
        frames = open_source(truth, videos.sounds[key]).num_frames
        assert open_source(videos.model[key]).num_frames == frames
        assert 0 < open_source(videos.mismatched[key]).num_frames <= frames  # another clip may be shorter
    assert videos.speed["real_time_factor"] > 0


def test_nothing_is_made_twice_and_what_is_missing_comes_back_the_same(made):
    before = files(made())
    assert files(made()) == before
    gone = next(path for path in before if path.parent.name == "model")
    gone.unlink()
    after = files(made())
    assert after.pop(gone)[1] == before.pop(gone)[1]
    assert after == before


def test_another_seed_makes_other_videos(made):
    before, after = files(made()), files(made(seed=5))
    assert all(after[path][1] != before[path][1] for path in before if path.parent.name == "model")


def test_what_is_not_looked_at_is_not_rendered(made):
    whole = made()
    cut = made(max_seconds=1.2)
    assert not cut.left_out
    for key, model in cut.model.items():
        assert open_source(model).num_frames == open_source(cut.mismatched[key]).num_frames == 30
        assert len(open_source(cut.reference[key], cut.sounds[key]).audio()) == 1.2 * 16_000
    assert {open_source(model).num_frames for model in made(max_seconds=12.0).model.values()} != {30}
    assert whole.model.keys() == cut.model.keys()


def test_a_single_clip_has_no_control(made):
    assert made(clips=1).mismatched == {}


def test_a_data_set_without_video_is_named(tiny_dataset: Path, make_run, tmp_path: Path):
    with pytest.raises(UserError, match="holds no video and sound.*protocol=motion"):
        videos_of_run(RunSettings(make_run(tiny_dataset), steps=1, device="cpu"), tmp_path / "videos")


def test_a_run_is_evaluated_beside_the_truth_and_the_controls(
    made, filmed_dataset: Path, make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("moda.eval.videos.evaluate.build_extractors", lambda *_: two_extractors("cpu"))
    monkeypatch.setattr("moda.eval.videos.rows.build", lambda spec: None)  # a ceiling needs faces
    settings = RunSettings(make_run(filmed_dataset), steps=1, device="cpu")
    request = Request(PROTOCOL, {}, Networks(), tmp_path / "out", run=settings)
    found = evaluate(request)
    assert [row.name for row in found.rows] == ["ground_truth", "reencoded", "static", "mismatched_audio", "model"]
    assert not found.unpaired
    keys = {item.key for item in found.rows[0].items}
    for row in found.rows:
        assert {item.key for item in row.items} == keys and not row.left_out
        assert len(found.found[row.name]) == len(keys) > 1
    truth, mismatched = found.rows[0], found.rows[3]
    assert all(item.sound and item.sound.suffix == ".wav" for item in truth.items)
    assert all("mismatched_audio" in str(item.video) for item in mismatched.items)
