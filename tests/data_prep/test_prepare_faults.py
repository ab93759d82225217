"""What crawled files, disks and people do to a preparation: used, or named with a reason; the rest unharmed."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from prep_fakes import ask_for_rotation, square, tone

from moda.audio.io import load_audio
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data_prep import extract
from moda.data_prep.decode import FrameReader
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings
from moda.errors import UserError


def still(seconds: float = 1.2, left: int = 60) -> list[np.ndarray]:
    return [square(left, 60, 40)] * round(25 * seconds)


def report(settings: PrepareSettings) -> dict:
    return json.loads((settings.out / "report.json").read_text())


def clips(settings: PrepareSettings) -> list:
    manifest = DatasetManifest.load(settings.out)
    return [clip for split in manifest.splits for clip in FeatureShards(settings.out, split)]


def test_a_phone_s_clip_of_uneven_rate_that_is_to_be_turned(settings: PrepareSettings, make_video):
    """A flash and a click at one time, in a video that lies on its side and whose frames come when they come."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.015, 0.05, 80))
    times -= times[0]
    flash = (times >= 1.0) & (times < 1.2)
    pictures = [square(150, 40, 40, (160, 240), 255 if bright else 140) for bright in flash]
    sound = 0.01 * tone(float(times[-1]) + 0.1)
    sound[16_000:19_200] += 60 * tone(0.2)[:3200]
    path = make_video("phone.mov", pictures, times=times, sound=np.clip(sound, -1, 1))
    ask_for_rotation(path, 90)
    prepare(replace(settings, clip_seconds=5))
    (clip,) = clips(settings)
    x, y, _ = clip.record.crop
    assert (x, y) == pytest.approx((160 - 60, 170), abs=25)  # turned clockwise: right becomes below
    bright = np.flatnonzero(clip.motion[:, 0] > 0.8)
    loud = np.flatnonzero(clip.audio[:, 0, 0] > 0.1)
    assert abs(int(bright[0]) - int(loud[0])) <= 1 and abs(int(bright[-1]) - int(loud[-1])) <= 1


def test_a_source_that_vanishes_before_its_turn_is_named_and_read_when_it_is_back(
    settings: PrepareSettings, make_video, monkeypatch
):
    make_video("a/1.mp4", still(), sound=tone(1.2))
    gone = make_video("b/1.mp4", still(left=40), sound=tone(1.2))
    content = gone.read_bytes()
    whole = extract.Extractor.process

    def vanishing(self, source, folder):
        gone.unlink(missing_ok=True)
        return whole(self, source, folder)

    with monkeypatch.context() as patch:
        patch.setattr(extract.Extractor, "process", vanishing)
        prepare(settings)
    (entry,) = report(settings)["rejected"]
    assert entry["file"] == "b/1.mp4" and entry["reason"].startswith("it is not a file")
    gone.write_bytes(content)
    prepare(settings)
    assert report(settings)["rejected"] == [] and len(clips(settings)) == 2


def test_a_disk_that_fills_up_while_packing_leaves_what_was_there(settings: PrepareSettings, make_video, monkeypatch):
    make_video("a/1.mp4", still(), sound=tone(1.2))
    prepare(settings)
    before = {path: path.read_bytes() for path in settings.out.rglob("*") if path.is_file()}
    make_video("b/1.mp4", still(left=40), sound=tone(1.2))

    def full(*_: object, **__: object) -> None:
        raise UserError("cannot write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("moda.data_prep.pack.write_shard", full)
        with pytest.raises(UserError, match="No space left"):
            prepare(settings)
    assert all(path.read_bytes() == content for path, content in before.items())
    calls = []
    whole = extract.Extractor.process
    monkeypatch.setattr(extract.Extractor, "process", lambda self, *a: calls.append(1) or whole(self, *a))
    prepare(settings)
    assert calls == [] and len(clips(settings)) == 2  # what had been read was not read again


def test_odd_files_among_the_videos(settings: PrepareSettings, make_video):
    make_video("good.mp4", still(), sound=tone(1.2))
    (settings.source / "folder.mp4").mkdir()
    os.mkfifo(settings.source / "pipe.mp4")  # reading it would wait for ever
    (settings.source / "loop").symlink_to(settings.source)
    (settings.source / "dir" / "..x").mkdir(parents=True)
    (settings.source / "list.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    prepare(settings)
    reasons = {entry["file"]: entry["reason"] for entry in report(settings)["rejected"]}
    assert set(reasons) == {"pipe.mp4", "list.mp4"} and len(clips(settings)) == 1
    assert "not a file" in reasons["pipe.mp4"] and "not a video" in reasons["list.mp4"]


def test_what_is_in_work_and_damaged_is_named(settings: PrepareSettings, make_video, monkeypatch):
    make_video("a/1.mp4", still(), sound=tone(1.2))

    def spoiled(*arguments, **options):
        for path in settings.out.rglob("*.npz"):
            path.write_bytes(path.read_bytes()[:50])
        return whole(*arguments, **options)

    from moda.data_prep import pipeline

    whole = pipeline.pack
    monkeypatch.setattr(pipeline, "pack", spoiled)
    with pytest.raises(UserError, match=r"is damaged .*; delete it and run the same command again"):
        prepare(settings)
    assert not (settings.out / "dataset.json").exists()


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts", "a.flv", "a.3gp", "ts.mp4"])
def test_a_clip_read_again_has_its_own_frames_in_any_container(
    settings: PrepareSettings, make_video, monkeypatch, name
):
    """Decord would give those 32 frames later of a transport stream, whatever it is called."""
    path = make_video(
        name.replace("ts.mp4", "b.ts"), [square(60, 60, 40, level=140 + k) for k in range(100)], sound=tone(4)
    )
    path.rename(path.with_name(name))
    monkeypatch.setattr("moda.data_prep.held.HeldFrames.crops", lambda *_: None)
    prepare(settings)
    brightness = np.concatenate([clip.motion[:, 0] for clip in sorted(clips(settings), key=lambda c: c.record.start)])
    assert len(brightness) >= 99  # some containers do not say how long the last frame lasts
    assert np.abs(brightness - np.arange(140, 240)[: len(brightness)] / 255).max() < 0.015


def test_frames_that_decord_leaves_out_are_read_by_the_patient_reader(
    settings: PrepareSettings, make_video, monkeypatch
):
    """Where the kept surroundings do not hold the crop, and decord ends a frame early, as it does on some files."""
    make_video("a.mp4", [square(60, 60, 40, level=140 + k) for k in range(60)], sound=tone(2.4))
    monkeypatch.setattr("moda.data_prep.held.HeldFrames.crops", lambda *_: None)
    whole = FrameReader.frames
    monkeypatch.setattr(FrameReader, "frames", lambda self, wanted, *rest: whole(self, wanted[:-3], *rest))
    prepare(replace(settings, clip_seconds=5))
    (clip,) = clips(settings)
    assert clip.num_frames == 60


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("writes", ["clip.np.savez", "clip.VideoWriter.write", "pictures.Path.write_bytes"])
def test_a_place_that_cannot_be_written_to_stops_the_run_and_blames_no_video(
    settings: PrepareSettings, make_video, monkeypatch, number: int, writes: str
):
    make_video("a.mp4", still(), sound=tone(1.2))

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"moda.data_prep.{writes}", failing)
        with pytest.raises(UserError, match=f"cannot write .*{os.strerror(number)}"):
            prepare(settings)
    prepare(settings)
    assert report(settings)["rejected"] == [] and len(clips(settings)) == 1


def test_a_source_that_cannot_be_read_is_refused_alone(settings: PrepareSettings, make_video, monkeypatch):
    make_video("a.mp4", still(), sound=tone(1.2))
    make_video("b.mp4", still(left=40), sound=tone(1.2))

    def load(path, **options):
        if path.name == "b.mp4":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return load_audio(path, **options)

    monkeypatch.setattr(extract, "load_audio", load)
    prepare(settings)
    (entry,) = report(settings)["rejected"]
    assert entry["file"] == "b.mp4" and "Input/output error" in entry["reason"]


def test_tags_that_are_no_utf8_cost_no_video(settings: PrepareSettings, make_video):
    path = make_video("a.mp4", still(), sound=tone(1.2))
    content = path.read_bytes()
    assert b"Lavf" in content
    path.write_bytes(content.replace(b"Lavf", b"L\xe4vf"))
    prepare(settings)
    assert report(settings)["rejected"] == [] and len(clips(settings)) == 1
