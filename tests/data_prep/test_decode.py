from pathlib import Path

import numpy as np
import pytest
from prep_fakes import ask_for_rotation, square, tone

from moda.data_prep import decode
from moda.data_prep.decode import DecordFailure, FrameReader, resample_indices
from moda.data_prep.patient import PatientReader
from moda.errors import UserError


def constant_rate(fps: float, seconds: float) -> np.ndarray:
    count = round(fps * seconds)
    return np.stack([np.arange(count), np.arange(1, count + 1)], 1) / fps


@pytest.mark.parametrize("fps", [12, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60, 72])
def test_any_rate_becomes_25_with_neither_lead_nor_lag(fps: float):
    indices = resample_indices(constant_rate(fps, 10), 25)
    assert len(indices) == 250 and np.all(np.diff(indices) >= 0)
    shown, wanted = (indices + 0.5) / fps, (np.arange(250) + 0.5) / 25  # middles of the frames
    assert np.abs(shown - wanted).max() <= 0.5 / fps + 0.00101  # and what is allowed for rounding
    assert abs((shown - wanted).mean()) <= (0.01 + 1e-9 if fps == 50 else 0.004)  # 50: the middle lies between two


def test_25_frames_a_second_are_left_as_they_are_even_with_jitter():
    times = constant_rate(25, 4) + np.random.default_rng(0).uniform(-0.015, 0.015, (100, 1))
    assert resample_indices(times, 25).tolist() == list(range(100))


def test_a_frame_that_stands_for_long_is_repeated():
    times = np.array([[0.0, 0.04], [0.04, 0.24], [0.24, 0.28]])
    assert resample_indices(times, 25).tolist() == [0, 1, 1, 1, 1, 1, 2]


def numbered(count: int) -> list[np.ndarray]:
    """Pictures that show their number in binary, as eight black or white bars."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    return [np.repeat(np.tile(255 * row, (96, 1)), 16, axis=1)[..., None].repeat(3, 2).astype(np.uint8) for row in bits]


def number(frame: np.ndarray) -> int:
    return int(((frame[48, 8::16, 1] > 128) << np.arange(8)).sum())


def numbers(frames) -> list[int]:
    return [number(frame) for _, frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("b.avi", "libx264")],
)
def test_blocks_and_seeking_give_the_very_frames_of_one_reading(make_video, monkeypatch, name: str, codec: str):
    path = make_video(name, numbered(100), codec=codec, gop=30)
    whole = numbers(FrameReader(path).frames(range(100)))
    assert whole == list(range(100))
    monkeypatch.setattr(decode, "BLOCK_BYTES", 3 * 96 * 128 * 3)  # three frames a block
    reader = FrameReader(path)
    assert [t for t, _ in reader.frames(range(100))] == list(range(100))
    assert numbers(reader.frames(range(100))) == whole
    assert numbers(reader.frames(range(37, 93, 5))) == whole[37:93:5]


def test_variable_rate_follows_the_time_stamps(make_video):
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.09, 80))
    times -= times[0]
    reader = FrameReader(make_video("a.mp4", numbered(80), times=times))
    shown = np.searchsorted(times, (np.arange(reader.num_frames) + 0.5) / 25 + 1e-3, side="right") - 1
    assert numbers(reader.frames(range(reader.num_frames))) == shown.tolist()


def test_time_zero_is_the_first_picture_also_when_it_comes_late(make_video):
    reader = FrameReader(make_video("a.mp4", numbered(50), start=0.5, sound=tone(3)))
    assert reader.num_frames == 50
    assert numbers(reader.frames(range(3))) == [0, 1, 2]


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_is_honoured(make_video, degrees: int, corner: tuple[int, int]):
    path = make_video("a.mp4", [square(0, 0, 64, (128, 160))] * 10)  # white in the upper left
    ask_for_rotation(path, degrees)
    reader = FrameReader(path)
    assert (reader.height, reader.width) == ((128, 160) if degrees == 180 else (160, 128))
    _, frame = next(reader.frames(range(1)))
    bright = {(y, x) for y in (0, -1) for x in (0, -1) if frame[y, x].mean() > 128}
    assert bright == {corner}


def damaged(path: Path, after: float) -> Path:
    """Spoil the pictures of an mp4 behind the share ``after`` of them."""
    content = bytearray(path.read_bytes())
    begin, end = content.find(b"mdat") + 4, content.find(b"moov")
    for at in range(begin + round((end - begin) * after), end, 7):
        content[at] ^= 0xFF
    path.write_bytes(content)
    return path


def test_the_patient_reader_gives_what_decord_gives(make_video):
    times = np.cumsum(np.random.default_rng(2).uniform(0.01, 0.09, 80))
    cases = {"a.mp4": None, "b.mkv": times - times[0], "c.avi": None}
    for name, shown in cases.items():
        path = make_video(name, numbered(80), times=shown, codec="mpeg4" if name == "c.avi" else "libx264", gop=10)
        decord, patient = FrameReader(path), PatientReader(path)
        assert (patient.num_frames, patient.height, patient.width) == (decord.num_frames, 96, 128)
        everything = range(decord.num_frames)
        assert numbers(patient.frames(everything)) == numbers(decord.frames(everything))
        assert numbers(patient.frames(range(20, 60, 7))) == numbers(decord.frames(range(20, 60, 7)))  # back, and on


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_patient_reader_turns_pictures_the_same_way(make_video, degrees: int):
    path = make_video("a.mp4", [square(0, 0, 64, (128, 160))] * 5)
    ask_for_rotation(path, degrees)
    first = [next(reader.frames(range(1)))[1] for reader in (FrameReader(path), PatientReader(path))]
    assert first[0].shape == first[1].shape and np.abs(first[0].astype(int) - first[1]).max() < 4


def test_what_comes_before_the_damage_can_be_read(make_video):
    path = damaged(make_video("a.mp4", numbered(100), gop=10), after=0.5)
    with pytest.raises(DecordFailure):
        list(FrameReader(path).frames(range(100)))
    reader = PatientReader(path)
    got = numbers(reader.frames(range(100)))
    assert 20 < len(got) == reader.num_frames < 70 and got == list(range(len(got)))
    assert numbers(PatientReader(path).frames(range(100))) == got  # not a matter of chance
    assert numbers(reader.frames(range(10, 15))) == [10, 11, 12, 13, 14]


def test_a_stream_damaged_from_the_start_cannot_be_read(make_video):
    path = damaged(make_video("a.mp4", numbered(50)), after=0)
    with pytest.raises(UserError, match="corrupt|cannot be decoded"):
        list(FrameReader(path).frames(range(50)))
    with pytest.raises(UserError, match="corrupt|cannot be decoded"):
        PatientReader(path)


def test_of_a_file_cut_short_the_rest_is_there(make_video):
    path = make_video("a.mp4", numbered(100), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    reader = PatientReader(path)
    got = numbers(reader.frames(range(100)))
    assert 20 < len(got) == reader.num_frames < 90 and got == list(range(len(got)))
