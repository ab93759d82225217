from pathlib import Path

import av
import numpy as np
import pytest
from video_support import PROTOCOL, write_video

from moda.data_prep.patient import PatientReader
from moda.errors import UserError
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import View
from moda.face.crop import CropBox


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_every_rate_becomes_25_by_time(tmp_path: Path, fps: int) -> None:
    source = open_source(write_video(tmp_path / "v.mp4", 2 * fps, fps=fps))
    assert source.num_frames == 50 and source.rate == pytest.approx(fps) and not source.variable_rate
    levels = np.array([frame.mean() for frame in source.frames()])
    shown = (np.arange(50) + 0.5) / 25 * fps  # source frames at the middle of each frame
    assert np.corrcoef(levels, np.floor(shown + 1e-6))[0, 1] > 0.999


def test_the_sound_may_come_from_elsewhere(tmp_path: Path) -> None:
    one, other = write_video(tmp_path / "a.mp4", seed=1), write_video(tmp_path / "b.mp4", seed=2)
    source = open_source(one, other)
    assert source.sound_sha256 == open_source(other).sha256 != source.sha256
    assert np.array_equal(source.audio(), open_source(other).audio()) and source.audio().dtype == np.int16


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all, but long enough to look at")
    (tmp_path / "empty.mp4").touch()
    for name, reason in (("text.mp4", "not a video"), ("empty.mp4", "empty"), ("none.mp4", "not a file")):
        with pytest.raises(UserError, match=reason):
            open_source(tmp_path / name)


def test_no_sound_and_silence_are_named_when_it_is_asked_for(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "mute.mp4", sound=False))
    with pytest.raises(UserError, match="no sound"):
        source.audio()


def test_half_a_video_is_not_scored_as_a_whole_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 100, size=(128, 128))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(UserError):
        assert len(list(open_source(path).frames())) == 100


@pytest.mark.parametrize("where", [0.2, 0.5])
def test_a_frame_that_the_decoder_paints_over_is_found(tmp_path: Path, where: float) -> None:
    path = write_video(tmp_path / "v.mp4", 60, size=(128, 128))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    packet = packets[40]
    assert packet.pos is not None
    data = bytearray(path.read_bytes())
    begin, end = packet.pos + int(where * packet.size), packet.pos + packet.size
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    with pytest.raises(UserError):
        list(open_source(path).frames())
    assert len([None for _, _ in PatientReader(path).frames(range(60))]) <= 40


def test_square_frames_are_used_whole_and_others_by_the_box(tmp_path: Path) -> None:
    square = View(open_source(write_video(tmp_path / "s.mp4", size=(100, 100))), PROTOCOL)
    assert next(square.frames()).shape == (64, 64, 3)
    wide = open_source(write_video(tmp_path / "w.mp4", size=(96, 160)))
    box = CropBox(40, 10, 64)
    view = View(wide, PROTOCOL, box)
    assert np.array_equal(next(view.frames()), next(wide.frames())[10:74, 40:104])
    assert view.identity() != View(wide, PROTOCOL, CropBox(41, 10, 64)).identity()
    assert [len(block) for block in view.blocks()] == [16, 14]
    assert len(view.audio()) == 30 * 640
