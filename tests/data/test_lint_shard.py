"""What moda lint --video finds in the video tars."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from data_support import members_of, replaced, rewrite, save, write_tar

from moda.data.lint import lint
from moda.data.media_check import wrong_sound, wrong_video
from moda.data.schema import ClipRecord, DatasetManifest
from moda.data.writer import Sample, dataset_fingerprint, write_shard
from moda.files import sha256_of
from moda.generation.video import VideoWriter
from moda.motion import StatisticsAccumulator, get_layout

FIRST = "train/features-000000.tar"


def lines(root: Path, **settings) -> list[str]:
    return [str(finding) for finding in lint(root, **settings).findings]


def film(path: Path, frames: int, fps: int = 25) -> bytes:
    """A picture of blocks that moves."""
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with VideoWriter(path, 128, fps) as writer:
        for moved in range(frames):
            writer.write(np.roll(picture, moved, 1))
    return path.read_bytes()


def sound(samples: int, rate: int = 16_000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, (samples, channels)), rate, format="FLAC")
    return file.getvalue()


def spoiled_frame(data: bytes, number: int) -> bytes:
    """The second half of one frame of an mp4 file zeroed."""
    with av.open(io.BytesIO(data), "r") as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
    end, half = packet.pos + packet.size, packet.size // 2
    return data[: end - half] + bytes(half) + data[end:]


@pytest.fixture
def with_video(tmp_path: Path) -> Path:
    """One train shard of two clips of ten frames with its video tar."""
    root, rng = tmp_path / "set", np.random.default_rng(0)
    film(tmp_path / "clip.mp4", 10)
    soundfile.write(tmp_path / "clip.flac", rng.normal(0, 0.1, 6400), 16_000)
    statistics = StatisticsAccumulator(get_layout("head59"))
    samples = []
    for key in ("a", "b"):
        motion = rng.normal(size=(10, 59)).astype(np.float32)
        statistics.update(motion)
        record = ClipRecord(key, "train", "ann", "a.mp4", 0.0, 10, 25, (1.0, 1.0, 2.0))
        arrays = (motion, rng.normal(size=5), rng.normal(size=(10, 1, 6)))
        samples.append(Sample(record, *arrays, video=tmp_path / "clip.mp4", sound=tmp_path / "clip.flac"))
    shard = write_shard(root, "train", 0, samples)
    DatasetManifest(
        codec={}, codec_fingerprint="", audio_encoder={}, audio_fingerprint="", audio_layers=1, audio_dim=6,
        identity_dim=5, statistics=statistics.result(), splits={"train": ["ann"]}, shards=(shard,),
        fingerprint=dataset_fingerprint([shard], {}, "", {}, ""),
    ).save(root)  # fmt: skip
    return root


def test_the_videos_are_looked_at_when_asked(with_video: Path) -> None:
    assert lines(with_video, video=True) == []
    path = with_video / "train/video-000000.tar"
    members = members_of(path)
    path.unlink()
    with tarfile.open(path, "w") as tar:
        for name, _ in members:
            if name != "b.flac":
                tar.addfile(tarfile.TarInfo(name.replace("a.", "c.")))
    assert lines(with_video) == []
    where = "train/video-000000.tar"
    assert lines(with_video, video=True) == [
        f"{where}: its SHA-256 is not the one in dataset.json",
        f"{where} c: its mp4 member is empty",
        f"{where} c: its flac member is empty",
        f"{where} b: its mp4 member is empty",
        f"{where} b: its flac member is missing",
        f"{where} a: the sample has features and no video",
        f"{where} c: the sample has a video and no features",
    ]
    path.unlink()
    assert lines(with_video, video=True) == [f"{where}: the file is missing"]


def test_a_data_set_without_videos_has_none_to_look_at(tiny_dataset: Path) -> None:
    got = lines(tiny_dataset, video=True)
    assert len(got) == 7 and got[0] == f"{FIRST}: it has no video tar beside it"


@pytest.mark.parametrize(
    ("kind", "spoil", "problem"),
    [
        ("mp4", lambda at: b"video", "cannot be decoded (Invalid data found when processing input)"),
        ("mp4", lambda at: film(at, 9), "has 9 frames, its record says 10"),
        ("mp4", lambda at: film(at, 11), "has 11 frames, its record says 10"),
        ("mp4", lambda at: film(at, 10, fps=30), "has 30 frames a second, its record says 25"),
        ("mp4", lambda at: film(at, 10)[:-300], "cannot be decoded (Invalid data found when processing input)"),
        ("mp4", lambda at: spoiled_frame(film(at, 10), 0), "cannot be decoded (Invalid data found when processing"),
        ("mp4", lambda at: spoiled_frame(film(at, 10), -1), "cannot be decoded (Invalid data found when processing"),
        ("mp4", lambda at: sound(6400), "holds no pictures"),
        ("flac", lambda at: b"sound", "cannot be decoded ("),
        ("flac", lambda at: sound(6399), "has 6399 samples, its record's 10 frames are 6400"),
        ("flac", lambda at: sound(6400)[:9000], "cannot be decoded ("),
        ("flac", lambda at: sound(6400, rate=8000), "has 8000 Hz and 1 channels, expected 16 kHz mono"),
        ("flac", lambda at: sound(6400, channels=2), "has 16000 Hz and 2 channels, expected 16 kHz mono"),
    ],
)  # fmt: skip
def test_a_clip_that_cannot_be_played_or_has_another_length_is_named(
    with_video: Path, tmp_path: Path, kind: str, spoil: Callable, problem: str
) -> None:
    manifest = DatasetManifest.load(with_video)
    path = with_video / "train/video-000000.tar"
    members = [
        (name, spoil(tmp_path / "other.mp4") if name == f"b.{kind}" else data) for name, data in members_of(path)
    ]
    path.unlink()
    write_tar(path, members)
    save(replace(manifest, shards=(replace(manifest.shards[0], video_sha256=sha256_of(path)),)), with_video)
    assert lines(with_video) == []
    (line,) = lines(with_video, video=True)
    assert line.startswith(f"train/video-000000.tar b: its {kind} member {problem}") and "\n" not in line


def test_whichever_bytes_are_damaged_nothing_but_a_reason_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = {wrong_video: film(tmp_path / "whole.mp4", 40), wrong_sound: sound(25_600)}
    for check, data in whole.items():
        assert check(data, 40, 25) is None
        found = set()
        for _ in range(100):
            damaged = bytearray(data)
            for place in len(data) - 1 - random.integers(0, 1500, 20):  # an mp4 file describes itself at its end
                damaged[place] = random.integers(256)
            found.add(check(bytes(damaged), 40, 25))
        assert found - {None}


def test_a_video_of_a_sample_that_does_not_decode_is_not_compared(with_video: Path) -> None:
    rewrite(with_video, replaced("motion.npy", b"broken"))
    (line,) = lines(with_video, video=True)
    assert line.startswith(f"{FIRST} a: motion.npy")
