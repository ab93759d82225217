"""The whole preparation on small made videos, with models that see a white square as a face."""

import io
import json
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from prep_fakes import BrightnessCodec, square, tone

from moda.build import build
from moda.data.lint import lint
from moda.data.schema import ClipRecord, DatasetManifest
from moda.data_prep.extract import Extractor
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings, QualitySettings, SplitSettings
from moda.errors import UserError


def still(seconds: float = 1.2, **where) -> list[np.ndarray]:
    return [square(where.get("left", 60), where.get("top", 60), where.get("side", 40))] * round(25 * seconds)


def samples(root: Path) -> dict[str, dict[str, bytes]]:
    """key -> member suffix -> content, of all shards."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(root.glob("*/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                found.setdefault(key, {})[suffix] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return found


def array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def free_box(name: str) -> bytes:
    """The end of an mp4 file that no decoder looks at."""
    content = name.encode()
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def report(root: Path) -> dict:
    return json.loads((root / "report.json").read_text())


def rejected(root: Path) -> dict[str, str]:
    return {entry["file"]: entry["reason"] for entry in report(root)["rejected"]}


@pytest.fixture
def people(make_video, settings: PrepareSettings) -> None:
    """Four speakers with one clip each; cid has a sidecar."""
    for number, name in enumerate(("ann", "bob", "cid", "dan")):
        make_video(f"{name}/1.mp4", still(left=40 + 5 * number), sound=tone(1.2))
    sidecar = settings.source / "cid" / "1.json"
    sidecar.write_text(json.dumps({"speaker": "Cid", "emotion": "happiness"}))


def test_folder_of_videos_to_data_set(people, settings: PrepareSettings):
    manifest = prepare(settings)
    loaded = DatasetManifest.load(settings.out)
    assert loaded.fingerprint == manifest.fingerprint and loaded.layout.name == "head59"
    assert sorted(name for names in loaded.splits.values() for name in names) == ["Cid", "ann", "bob", "dan"]
    assert {split: len(names) for split, names in loaded.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert loaded.codec == settings.codec and (loaded.identity_dim, loaded.audio_dim) == (3, 1)
    clips = samples(settings.out)
    assert len(clips) == 4
    for key, clip in clips.items():
        record = ClipRecord.from_dict(json.loads(clip["json"]))
        assert record.key == key and record.num_frames == 30 and record.speaker in loaded.splits[record.split]
        assert record.emotion == ("happiness" if record.speaker == "Cid" else None)
        assert array(clip["motion.npy"]).shape == (30, 59) and array(clip["audio.npy"]).shape == (30, 1, 1)
        with av.open(io.BytesIO(clip["mp4"]), "r") as container:
            shapes = {frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)}
        assert shapes == {(64, 64, 3)}
        sound, rate = soundfile.read(io.BytesIO(clip["flac"]))
        assert rate == 16_000 and len(sound) == 30 * 640
    assert not (settings.out / ".work").exists()
    page = (settings.out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4 and "ann/1.mp4" in page


def test_running_it_twice_gives_the_same_bytes(people, settings: PrepareSettings, tmp_path: Path):
    first = prepare(settings)
    second = prepare(replace(settings, out=tmp_path / "again"))
    assert first.fingerprint == second.fingerprint
    assert samples(settings.out) == samples(tmp_path / "again")


def test_the_same_request_again_is_nothing_to_do(people, settings: PrepareSettings, capsys, monkeypatch):
    prepare(settings)
    monkeypatch.setattr(BrightnessCodec, "encode", None)  # must not be needed
    before = (settings.out / "dataset.json").stat().st_mtime_ns
    prepare(replace(settings, workers=0))
    assert "nothing to do" in capsys.readouterr().out
    assert (settings.out / "dataset.json").stat().st_mtime_ns == before


def test_another_request_for_the_same_place_is_explained(people, settings: PrepareSettings, make_video):
    prepare(settings)
    with pytest.raises(UserError, match=r"other settings: clip_seconds was 2.0, now 1.5"):
        prepare(replace(settings, clip_seconds=1.5))
    with pytest.raises(UserError, match="splits.seed"):
        prepare(replace(settings, splits=SplitSettings(seed=5)))


def test_a_place_with_other_things_in_it_is_left_alone(people, settings: PrepareSettings):
    settings.out.mkdir()
    (settings.out / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        prepare(settings)
    assert [path.name for path in settings.out.iterdir()] == ["thesis.txt"]


def test_an_interrupted_run_goes_on_with_what_is_missing(people, settings: PrepareSettings, monkeypatch):
    whole = BrightnessCodec.encode
    calls = []

    def interrupted(self, frames):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, frames)

    monkeypatch.setattr(BrightnessCodec, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings)
    assert not (settings.out / "dataset.json").exists()
    prepare(settings)
    assert len(calls) == 5  # two before, the one that was interrupted, and two more
    assert len(samples(settings.out)) == 4


def test_every_bad_file_is_named_with_its_reason_and_stops_nothing(settings: PrepareSettings, make_video, capsys):
    make_video("good.mp4", still(), sound=tone(1.2))
    make_video("mute.mp4", still())
    make_video("silent.mp4", still(), sound=np.zeros(20_000, np.float32))
    make_video("nobody.mp4", still(side=0), sound=tone(1.2))
    make_video("brief.mp4", still(0.6) + still(1, side=0), sound=tone(1.6))
    make_video("far.mp4", [square(60, 60, 10, (128, 128))] * 30, sound=tone(1.2))
    (settings.source / "empty.mp4").touch()
    (settings.source / "text.mp4").write_text("hello")
    (settings.source / "link.mp4").symlink_to("nowhere")
    prepare(replace(settings, min_face=20))
    reasons = rejected(settings.out)
    assert reasons == {
        "brief.mp4": "a face is seen for 0.4 s only, less than 1",
        "empty.mp4": "the file is empty",
        "far.mp4": reasons["far.mp4"],
        "link.mp4": "it is not a file, or a link to nothing",
        "mute.mp4": "it has no sound track",
        "nobody.mp4": "no face was found in it",
        "silent.mp4": reasons["silent.mp4"],
        "text.mp4": "it is not a video file, whatever its name says",
    }
    assert "fewer than 20" in reasons["far.mp4"] and "silent" in reasons["silent.mp4"]
    printed = capsys.readouterr().out
    assert "used 1 clips (0:00:01) from 1 of 9 videos, 1 speakers" in printed
    assert all(sum(name in line for line in printed.splitlines()) == 1 for name in reasons)


def test_nothing_usable_is_an_error_that_leaves_nothing(settings: PrepareSettings, make_video, capsys):
    make_video("mute.mp4", still())
    with pytest.raises(UserError, match="no clip can be made of the 1 videos"):
        prepare(settings)
    assert "mute.mp4  it has no sound track" in capsys.readouterr().out
    assert list(settings.out.iterdir()) == []


def test_sound_may_be_done_without(settings: PrepareSettings, make_video):
    make_video("mute.mp4", still())
    prepare(replace(settings, require_audio=False))
    (clip,) = samples(settings.out).values()
    assert json.loads(clip["json"])["notes"] == ["no sound"] and not array(clip["audio.npy"]).any()


def test_a_long_video_becomes_clips_that_follow_each_other(settings: PrepareSettings, make_video):
    ramp = [square(60, 60, 40, level=130 + k) for k in range(110)]
    make_video("long.mp4", ramp, sound=tone(4.4))
    prepare(settings)
    records = sorted(
        (ClipRecord.from_dict(json.loads(c["json"])) for c in samples(settings.out).values()), key=lambda r: r.start
    )
    assert [record.num_frames for record in records] == [50, 30, 30]
    assert [record.start for record in records] == [0, 50 / 25, 80 / 25]
    clips = samples(settings.out)
    brightness = np.concatenate([array(clips[record.key]["motion.npy"])[:, 0] for record in records])
    assert np.abs(brightness - np.arange(130, 240) / 255).max() < 0.015  # every frame once, in order


@pytest.mark.parametrize(("fps", "start"), [(25, 0.0), (30, 0.0), (60, 0.4), (15, 0.2)])
def test_picture_and_sound_stay_together(settings: PrepareSettings, make_video, fps: float, start: float):
    """A flash and a click at the same time of the file are in the same frame of the clip."""
    times = np.arange(round(2 * fps)) / fps
    flash = 1.0
    pictures = [square(60, 60, 40, level=255 if flash <= time < flash + 0.2 else 140) for time in times]
    sound = 0.01 * tone(3)
    click = round((flash + start) * 16_000)
    sound[click : click + 3200] += 60 * tone(0.2)
    make_video("a.mkv", pictures, times=times, sound=sound, start=start)
    prepare(replace(settings, clip_seconds=5))
    (clip,) = samples(settings.out).values()
    bright = np.flatnonzero(array(clip["motion.npy"])[:, 0] > 0.8)
    loud = np.flatnonzero(array(clip["audio.npy"])[:, 0, 0] > 0.1)
    assert abs(bright[0] - loud[0]) <= 1 and abs(bright[-1] - loud[-1]) <= 1 and len(bright) == pytest.approx(5, abs=1)
    if fps == 25:
        assert bright.tolist() == loud.tolist() == [25, 26, 27, 28, 29]


def test_a_cut_file_is_used_with_a_note(settings: PrepareSettings, make_video):
    noise = np.random.default_rng(0).integers(0, 60, (75, 160, 160, 3), np.uint8)
    pictures = [np.maximum(picture, base) for picture, base in zip(still(3), noise, strict=True)]
    path = make_video("cut.mp4", pictures, sound=tone(3), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    prepare(settings)
    (entry,) = report(settings.out)["used"]
    assert any("cut short" in note for note in entry["notes"])
    assert 1 < sum(clip["seconds"] for clip in entry["clips"]) < 2.6


def test_two_shots_give_clips_with_crops_of_their_own(settings: PrepareSettings, make_video):
    make_video("a.mp4", still(1.2, left=10, top=10) + still(1.2, left=110, top=100), sound=tone(2.4))
    prepare(settings)
    crops = [clip["crop"] for clip in report(settings.out)["used"][0]["clips"]]
    assert len(crops) == 2 and crops[0][0] < 80 < crops[1][0]


def test_hostile_names_are_harmless(settings: PrepareSettings, make_video):
    made = make_video("plain.mp4", still(), sound=tone(1.2))
    for name in ("$(touch x).mp4", "a\nb.mp4", "<script>.mp4", "-rf.mp4", "a b/c..mp4", "日本/é ü.mp4"):
        (settings.source / name).parent.mkdir(exist_ok=True)
        (settings.source / name).write_bytes(made.read_bytes() + free_box(name))
    manifest = prepare(settings)
    assert sum(shard.num_samples for shard in manifest.shards) == 7
    assert {path.name for path in settings.out.parent.iterdir()} == {"videos", "data"}
    assert "<script>" not in (settings.out / "report.html").read_text()


def test_an_unforeseen_failure_is_the_video_s_alone(people, settings: PrepareSettings, monkeypatch, capsys):
    whole = BrightnessCodec.encode
    calls = []

    def failing(self, frames):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("a bug")
        return whole(self, frames)

    monkeypatch.setattr(BrightnessCodec, "encode", failing)
    prepare(settings)
    assert list(rejected(settings.out).values()) == ["ZeroDivisionError: a bug"]
    assert "Traceback" in capsys.readouterr().err


def test_the_codec_s_verdict_on_a_clip_is_told(settings: PrepareSettings, make_video):
    make_video("good.mp4", still(), sound=tone(1.2))
    # the square is seen by the detector, but its middle is dark
    hollow = [np.where(square(70, 70, 20) > 0, 0, picture).astype(np.uint8) for picture in still()]
    make_video("hollow.mp4", hollow, sound=tone(1.2))
    prepare(settings)
    assert rejected(settings.out) == {"hollow.mp4": "0.0 to 1.2 s: no frame shows a face"}


def test_features_of_a_speech_checkpoint_are_packed(make_video, settings: PrepareSettings, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from speech_checkpoints import write_checkpoint

    spec = {
        "_target_": "moda.audio.wav2vec.Wav2VecEncoder",
        "checkpoint": str(write_checkpoint(tmp_path / "speech")),
        "presample": True,
    }
    of = Extractor.of
    monkeypatch.setattr(Extractor, "of", lambda settings: replace(of(settings), encoder=build(settings.audio)))
    make_video("ann/1.mp4", still(), sound=tone(1.2))
    manifest = prepare(replace(settings, audio=spec))
    assert (manifest.audio_layers, manifest.audio_dim) == (3, 16) and manifest.audio_encoder == spec
    (clip,) = samples(settings.out).values()
    audio = array(clip["audio.npy"])
    assert audio.shape == (30, 3, 16) and audio.dtype == np.float16
    assert build(manifest.audio_encoder).fingerprint == manifest.audio_fingerprint


def test_adding_videos_writes_new_shards_and_leaves_the_old_ones(people, settings: PrepareSettings, make_video, capsys):
    first = prepare(settings)
    old = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in settings.out.glob("*/*.tar")}
    make_video("eve/1.mp4", still(left=20), sound=tone(1.2))
    make_video("ann/2.mp4", still(left=25), sound=tone(1.2))
    (settings.source / "bob/1.mp4").unlink()
    capsys.readouterr()
    second = prepare(settings)
    printed = capsys.readouterr().out
    assert "no longer in the source, and kept: 1 videos, as bob/1.mp4" in printed and "2/2 videos" in printed
    assert all((path.read_bytes(), path.stat().st_mtime_ns) == content for path, content in old.items())
    assert set(first.shards) < set(second.shards) and first.fingerprint != second.fingerprint
    assert sum(shard.num_samples for shard in second.shards) == 6 and second.videos == (
        "videos-000000.jsonl",
        "videos-000001.jsonl",
    )
    for split, names in first.splits.items():
        assert set(names) <= set(second.splits[split])  # nobody moves
    assert lint(settings.out, video=True).findings == ()
    assert len(report(settings.out)["used"]) == 6
    prepare(settings)
    assert "nothing to do" in capsys.readouterr().out


def test_grown_and_whole_data_sets_have_the_same_statistics(
    people, settings: PrepareSettings, make_video, tmp_path: Path
):
    everybody = replace(settings, splits=SplitSettings(val=0, test=0))
    prepare(everybody)
    make_video("eve/1.mp4", still(left=20), sound=tone(1.2))
    grown, whole = prepare(everybody), prepare(replace(everybody, out=tmp_path / "whole"))
    np.testing.assert_allclose(grown.statistics.mean, whole.statistics.mean, rtol=1e-12)
    np.testing.assert_allclose(grown.statistics.std, whole.statistics.std, atol=1e-12)
    assert samples(everybody.out) == samples(tmp_path / "whole")


def test_a_file_that_was_only_touched_or_copied_is_known(people, settings: PrepareSettings, monkeypatch, capsys):
    prepare(settings)
    monkeypatch.setattr(BrightnessCodec, "encode", None)
    os.utime(settings.source / "ann/1.mp4", (1, 1))
    prepare(settings)
    assert "nothing to do" in capsys.readouterr().out


def test_an_unusable_file_that_has_been_mended_is_read_again(people, settings: PrepareSettings, make_video):
    (settings.source / "eve.mp4").write_bytes(b"")
    assert len(samples(prepare(settings) and settings.out)) == 4
    make_video("eve.mp4", still(left=20), sound=tone(1.2))
    prepare(settings)
    assert len(samples(settings.out)) == 5 and rejected(settings.out) == {}


def test_the_same_content_under_two_names_is_used_once(people, settings: PrepareSettings):
    (settings.source / "zoe").mkdir()
    (settings.source / "zoe/1.mp4").write_bytes((settings.source / "ann/1.mp4").read_bytes())
    prepare(settings)
    assert rejected(settings.out) == {"zoe/1.mp4": "it has the same content as ann/1.mp4"}


def test_a_run_killed_while_packing_leaves_the_data_set_as_it_was(
    people, settings: PrepareSettings, make_video, monkeypatch
):
    prepare(settings)
    before = (settings.out / "dataset.json").read_bytes()
    make_video("eve/1.mp4", still(left=20), sound=tone(1.2))
    with monkeypatch.context() as patch:
        patch.setattr("moda.data_prep.pipeline.write_report", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            prepare(settings)
    assert (settings.out / "dataset.json").read_bytes() == before
    prepare(settings)
    assert len(samples(settings.out)) == 5 and lint(settings.out, video=True).findings == ()


@pytest.mark.parametrize("limit", [{"min_sync": 0.1}, {"max_sync_offset": 3}])
@pytest.mark.parametrize("sound", [tone(1.2), None])
def test_a_limit_of_sync_refuses_what_cannot_be_measured(settings: PrepareSettings, make_video, limit, sound):
    make_video("still.mp4", still(), sound=sound)
    with pytest.raises(UserError, match="no clip"):
        prepare(replace(settings, require_audio=False, quality=QualitySettings(**limit)))


def test_a_limit_of_speech_needs_the_network_that_hears_it(people, settings: PrepareSettings):
    with pytest.raises(UserError, match="quality.min_speech needs .*silero_vad"):
        prepare(replace(settings, quality=QualitySettings(min_speech=0.5)))
