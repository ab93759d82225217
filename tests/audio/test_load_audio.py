import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from moda.audio import io
from moda.audio.encoder import SAMPLE_RATE
from moda.audio.io import load_audio
from moda.errors import UserError
from moda.generation.video import VideoWriter


def tone(rate, seconds=1.5, hertz=440.0):
    """A tone with a soft start, so that its shape tells position as well as pitch."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.minimum(1, time) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_video(path, num_frames, audio=None):
    with VideoWriter(path, 32, audio=audio) as writer:
        for _ in range(num_frames):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_any_rate_becomes_16_khz(tmp_path, rate, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(rate), rate)
    waveform = load_audio(tmp_path / f"a.{suffix}")
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 1.5 * SAMPLE_RATE) <= 1
    np.testing.assert_allclose(waveform[500:-500], tone(SAMPLE_RATE)[500 : len(waveform) - 500], atol=2e-3)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_sample_formats(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE, subtype=subtype)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(SAMPLE_RATE), atol=0.01)


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_lossy_files_keep_length_and_time(tmp_path, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(44_100), 44_100)
    waveform = load_audio(tmp_path / f"a.{suffix}")
    assert abs(len(waveform) - 1.5 * SAMPLE_RATE) < 0.06 * SAMPLE_RATE
    lags = np.arange(-400, 401)
    middle = slice(4000, 20_000)
    reference = tone(SAMPLE_RATE)
    match = [np.dot(waveform[4000 + lag : 20_000 + lag], reference[middle]) for lag in lags]
    period = SAMPLE_RATE / 440
    assert min(abs(lags[np.argmax(match)] - k * period) for k in range(-11, 12)) < 2


def test_channels_are_averaged(tmp_path):
    left = tone(48_000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], axis=1), 48_000)
    waveform = load_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(waveform[500:-500], 0.5 * tone(SAMPLE_RATE)[500:-500], atol=2e-3)


def test_sound_of_a_video_starts_with_its_first_frame(tmp_path):
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[10_000:10_032] = 0.8 * np.sin(np.arange(32))
    waveform = load_audio(write_video(tmp_path / "a.mp4", 50, click))
    assert len(waveform) == 2 * SAMPLE_RATE
    assert abs(int(np.argmax(np.abs(waveform))) - 10_016) < 32


@pytest.mark.parametrize("delay", [-0.4, 0.3])
def test_a_sound_track_that_starts_at_another_time_is_aligned(tmp_path, delay):
    """A click at 1.0 s of the presentation is at sample 16,000, whenever the track starts."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        first_frame, first_sound = max(0.0, -delay), max(0.0, delay)
        samples = np.zeros((1, 2 * SAMPLE_RATE), np.int16)
        click = round((1.0 + first_frame - first_sound) * SAMPLE_RATE)
        samples[0, click : click + 8] = 20_000
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((first_frame + index / 25) * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        for begin in range(0, samples.shape[1], 1600):
            frame = av.AudioFrame.from_ndarray(samples[:, begin : begin + 1600], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            frame.pts = round(first_sound * SAMPLE_RATE) + begin
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
    position = int(np.argmax(np.abs(load_audio(path))))
    assert abs(position - SAMPLE_RATE) < 32


def test_a_video_without_sound_says_so(tmp_path):
    with pytest.raises(UserError, match="no sound track"):
        load_audio(write_video(tmp_path / "a.mp4", 5))


def test_missing_empty_and_directory(tmp_path):
    (tmp_path / "empty.wav").touch()
    for name, reason in (("nothing.wav", "does not exist"), ("empty.wav", "is empty"), ("", "not a file")):
        with pytest.raises(UserError, match=reason):
            load_audio(tmp_path / name)


def test_text_called_wav(tmp_path):
    (tmp_path / "a.wav").write_text("this is not sound\n" * 100)
    with pytest.raises(UserError, match="cannot be decoded"):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp4"])
def test_a_file_cut_short_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "mp4":
        write_video(path, 100, tone(SAMPLE_RATE, 4))
    else:
        soundfile.write(path, tone(SAMPLE_RATE, 4), SAMPLE_RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short"):
        load_audio(path)


def test_a_wav_written_to_a_pipe_is_read(tmp_path):
    """Such a file holds a placeholder where its length should be."""
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(content)
    assert len(load_audio(tmp_path / "a.wav")) == 1.5 * SAMPLE_RATE


@pytest.mark.parametrize("level", [0.0, 5e-4])
def test_silence(tmp_path, level):
    quiet = 0.25 + level * tone(SAMPLE_RATE)  # an offset does not make it louder
    soundfile.write(tmp_path / "a.wav", quiet, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="is silent"):
        load_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", allow_silent=True), quiet, atol=1e-6)


def test_too_short(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    with pytest.raises(UserError, match=r"0\.10 s"):
        load_audio(tmp_path / "a.wav")


def test_broken_samples_are_refused_and_loud_ones_scaled(tmp_path):
    loud = 3 * tone(SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", loud, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), loud / np.abs(loud).max(), atol=1e-6)
    loud[100] = np.nan
    soundfile.write(tmp_path / "a.wav", loud, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        load_audio(tmp_path / "a.wav")


def test_hours_of_sound_are_not_held_twice_while_they_are_joined(monkeypatch):
    monkeypatch.setattr(io, "_GROWTH", 1000)
    pieces = [np.full(count, count, np.float32) for count in (0, 999, 1, 1000, 2500, 3)]
    assert np.array_equal(io._joined(iter(pieces)), np.concatenate(pieces))
    tracemalloc.start()
    try:
        whole = io._joined(np.ones(1000, np.float32) for _ in range(20_000))
        assert tracemalloc.get_traced_memory()[1] < 1.3 * whole.nbytes
    finally:
        tracemalloc.stop()


def test_tags_that_are_no_utf8_cost_no_sound(tmp_path):
    path = write_video(tmp_path / "a.mp4", 25, tone(SAMPLE_RATE))
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe4vf"))
    assert len(load_audio(path)) == SAMPLE_RATE
