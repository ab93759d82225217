import subprocess
import sys

import av
import numpy as np
import pytest

from moda.errors import UserError
from moda.generation.contact_sheet import contact_sheet
from moda.generation.video import VideoWriter

SIZE, RATE = 64, 16_000


def flash_and_click(num_frames, events):
    """Frames white at ``events`` and black elsewhere; 2 ms of tone at the start of the same frames."""
    frames = np.zeros((num_frames, SIZE, SIZE, 3), np.uint8)
    audio = np.zeros(num_frames * 640, np.float32)
    tone = 0.8 * np.sin(2 * np.pi * 2000 * np.arange(32) / RATE)
    for event in events:
        frames[event] = 255
        audio[event * 640 : event * 640 + 32] = tone
    return frames, audio


def write(path, frames, audio=None, **settings):
    with VideoWriter(path, SIZE, audio=audio, **settings) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def in_seconds(ticks, time_base):
    return float(ticks * time_base)


def decode_video(path):
    """Presentation times in seconds and mean brightness of every frame."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]
    return np.array(frames).T


def decode_audio(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].pts == 0
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def test_flash_and_click_stay_together(tmp_path):
    events = (0, 10, 37, 59)
    path = write(tmp_path / "a.mp4", *flash_and_click(60, events))
    times, brightness = decode_video(path)
    np.testing.assert_allclose(times, np.arange(60) / 25, atol=1e-6)
    assert tuple(np.flatnonzero(brightness > 128)) == events
    sound, rate = decode_audio(path)
    for event in events:
        begin = max(0, event * 640 - 320)
        peak = begin + np.argmax(np.abs(sound[begin : event * 640 + 640]))
        offset = (peak - (event * 640 + 12)) / rate  # the tone is loudest within its 2 ms
        assert abs(offset) < 0.005


@pytest.mark.parametrize("seconds", [0.5, 1.0, 9.0])
def test_sound_lasts_as_long_as_the_frames(tmp_path, seconds):
    """Shorter sound is padded, longer sound cut."""
    audio = np.full(int(seconds * RATE), 0.1, np.float32)
    path = write(tmp_path / "a.mp4", np.zeros((100, SIZE, SIZE, 3), np.uint8), audio)
    with av.open(str(path)) as container:
        for stream in container.streams:
            assert in_seconds(stream.duration, stream.time_base) == pytest.approx(4.0, abs=1e-3)


def test_other_rates_stay_in_sync(tmp_path):
    rate = 44_100
    audio = np.zeros(2 * rate, np.float32)
    audio[rate : rate + 88] = 0.8 * np.sin(2 * np.pi * 2000 * np.arange(88) / rate)
    path = write(tmp_path / "a.mp4", np.zeros((60, SIZE, SIZE, 3), np.uint8), audio, sample_rate=rate, fps=30)
    sound, decoded_rate = decode_audio(path)
    assert decoded_rate == rate
    assert abs(np.argmax(np.abs(sound)) / rate - 1.0) < 0.005


def test_sound_lies_beside_its_frames_in_the_file(tmp_path):
    """Packets of both streams alternate, so a player or reader never has to look far."""
    frames, audio = flash_and_click(200, (5,))
    with av.open(str(write(tmp_path / "a.mp4", frames, audio))) as container:
        packets = [(p.stream.type, in_seconds(p.pts, p.time_base)) for p in container.demux() if p.pts is not None]
    furthest = {"video": 0.0, "audio": 0.0}
    for kind, time in packets[:-20]:
        furthest[kind] = max(furthest[kind], time)
        assert abs(furthest["video"] - furthest["audio"]) < 1.2


def test_key_frames_and_colour(tmp_path):
    colour = np.array([200, 60, 30], np.uint8)
    path = write(tmp_path / "a.mp4", np.broadcast_to(colour, (30, SIZE, SIZE, 3)), gop=10)
    with av.open(str(path)) as container:
        assert not container.streams.audio
        frames = list(container.decode(video=0))
    assert [index for index, frame in enumerate(frames) if frame.key_frame] == [0, 10, 20]
    np.testing.assert_allclose(frames[7].to_ndarray(format="rgb24").mean((0, 1)), colour, atol=4)


def test_no_file_when_the_body_fails(tmp_path):
    with pytest.raises(RuntimeError, match="renderer"), VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        writer.write(np.zeros((SIZE, SIZE, 3), np.uint8))
        raise RuntimeError("renderer")
    assert list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no frames"), VideoWriter(tmp_path / "a.mp4", SIZE):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "size", "reason"), [("a.mp4", (64, 65), "even"), ("a.avi", 64, r"\.mp4")])
def test_impossible_settings_are_refused(tmp_path, name, size, reason):
    with pytest.raises(UserError, match=reason):
        VideoWriter(tmp_path / name, size)


def test_a_frame_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="frame 0"), VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the file size stands for the full disk; it fails in the last bytes of the file."""
    script = """
import resource, sys
import numpy as np
from moda.errors import UserError
from moda.generation.video import VideoWriter
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
try:
    with VideoWriter(sys.argv[1], 64, audio=np.zeros(9000, np.float32)) as writer:
        for frame in noise:
            writer.write(frame)
except UserError as error:
    print(error)
"""

    def run(limit):
        command = [sys.executable, "-c", script, str(tmp_path / "a.mp4"), str(limit)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run(0) == ""
    size = (tmp_path / "a.mp4").stat().st_size
    (tmp_path / "a.mp4").unlink()
    assert "cannot write" in run(size - 300)
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet_places_frames_in_rows():
    frames = [np.full((4, 6, 3), value, np.uint8) for value in range(5)]
    sheet = contact_sheet(frames, columns=3, gap=2)
    assert sheet.shape == (10, 22, 3)
    assert [sheet[0, 0, 0], sheet[0, 8, 0], sheet[0, 16, 0], sheet[6, 0, 0], sheet[6, 8, 0]] == [0, 1, 2, 3, 4]
    assert (sheet[6:, 16:] == 255).all()
    assert (sheet[4:6] == 255).all()
