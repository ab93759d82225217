"""Against what is known: the motion of rendered heads, the time of a clap, and crops that keep what moves."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from prep_fakes import square

from moda.cli.main import main
from moda.data.media import iterate_frames, read_video
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings
from moda.generation.video import VideoWriter
from moda.motion.layout import get_layout

LAYOUT = get_layout("head59")


def clap(at: float, seconds: float) -> np.ndarray:
    """Sound that begins all at once, 16 kHz."""
    sound = np.random.default_rng(0).uniform(-1, 1, round(16_000 * seconds)).astype(np.float32) * 0.005
    sound[round(16_000 * at) :] *= 100
    return sound


def stored(root: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """(key, mp4, flac) of every clip."""
    import tarfile

    for path in sorted(root.glob("*/video-*.tar")):
        with tarfile.open(path) as tar:
            found = {member.name: tar.extractfile(member).read() for member in tar}
        for key in sorted({name.split(".")[0] for name in found}):
            yield key, found[f"{key}.mp4"], found[f"{key}.flac"]


@pytest.mark.parametrize(
    ("name", "fps", "at"), [("a.mp4", 25, 1.0), ("b.mkv", 25, 0.92), ("c.mp4", 50, 1.0), ("d.mov", 12.5, 0.96)]
)
def test_a_clap_is_seen_and_heard_within_10_ms(name: str, fps: float, at: float, settings: PrepareSettings, make_video):
    times = np.arange(round(2 * fps)) / fps
    pictures = [square(60, 60, 40, level=255 if time >= at - 1e-6 else 140) for time in times]
    make_video(name, pictures, times=times, sound=clap(at, 2.0))
    prepare(replace(settings, clip_seconds=5))
    ((_, video, flac),) = stored(settings.out)
    with av.open(io.BytesIO(video), "r") as container:
        frames = [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    seen = next(time for time, picture in frames if picture[28:36, 28:36].mean() > 200)
    sound, rate = soundfile.read(io.BytesIO(flac))
    heard = int(np.flatnonzero(np.abs(sound) > 0.1)[0]) / rate
    assert abs(seen - heard) <= 0.010, (seen, heard)


def crops_of(settings: PrepareSettings) -> list[np.ndarray]:
    manifest = DatasetManifest.load(settings.out)
    (key,) = [clip.key for split in manifest.splits for clip in FeatureShards(settings.out, split)]
    data = read_video(settings.out, manifest, next(iter(manifest.splits)), key)
    assert data is not None
    return list(iterate_frames(data))


def spot(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Centre x, y, width and height of what is bright."""
    rows, columns = np.nonzero(picture[..., 1] > 128)
    return float(columns.mean()), float(rows.mean()), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)


def test_the_crop_does_not_follow_the_face(settings: PrepareSettings, make_video):
    """A box that moves with the face would take the head's own motion away."""
    make_video("a.mp4", [square(40 + k, 60, 40, (160, 320)) for k in range(40)], sound=clap(0, 1.6))
    prepare(settings)
    pictures = crops_of(settings)
    scale = spot(pictures[0])[2] / 40
    moved = spot(pictures[-1])[0] - spot(pictures[0])[0]
    assert moved / scale == pytest.approx(39, abs=2)


def test_the_crop_is_not_squashed(settings: PrepareSettings, make_video):
    make_video("a.mp4", [square(140, 30, 40, (120, 320))] * 30, sound=clap(0, 1.2))
    prepare(settings)
    _, _, width, height = spot(crops_of(settings)[0])
    assert width == pytest.approx(height, abs=1.5)


def test_the_crop_leaves_room_for_other_detectors(settings: PrepareSettings, make_video):
    """A face that fills its crop is missed by the detectors of sync metrics."""
    make_video("a.mp4", [square(60, 60, 40)] * 30, sound=clap(0, 1.2))
    prepare(settings)
    picture = crops_of(settings)[0]
    assert spot(picture)[2] < len(picture) / 1.5


def test_a_face_at_the_edge_is_not_moved_to_the_middle_by_black(settings: PrepareSettings, make_video):
    pictures = [np.maximum(square(0, 60, 40), 60) for _ in range(30)]
    make_video("a.mp4", pictures, sound=clap(0, 1.2))
    prepare(settings)
    assert crops_of(settings)[0].min() > 30  # the frame's own pixels, or its edge repeated


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """(motion (50, 59), folder) of a rendered head that turns, nods, tilts and talks."""
    pytest.importorskip("ai_edge_litert")
    from moda.codec.head.identity import random_head
    from moda.codec.head.renderer import HeadRenderer, rest_motion

    time = np.arange(50) / 25
    motion = np.tile(rest_motion(), (50, 1)).astype(np.float32)
    motion[:, LAYOUT.index("yaw")] = 12 * np.sin(2 * np.pi * 0.5 * time)
    motion[:, LAYOUT.index("pitch")] = 7 * np.sin(2 * np.pi * 0.7 * time + 1)
    motion[:, LAYOUT.index("roll")] = 6 * np.sin(2 * np.pi * 0.6 * time + 2)
    motion[:, LAYOUT.index("jawOpen")] = 0.3 - 0.3 * np.cos(2 * np.pi * 1.7 * time)
    folder, renderer, head = tmp_path_factory.mktemp("known"), HeadRenderer(192, 2), random_head(5)
    (folder / "videos").mkdir()
    with VideoWriter(folder / "videos" / "a.mp4", 192, audio=clap(0.4, 2.0)) as video:
        for row in motion:
            video.write(renderer.render(head, row))
    arguments = [
        "audio=logmel",
        "video_size=192",
        "workers=0",
        "networks.identity=none",
        "networks.emotion=none",
        "quality.yaw=null",
        "quality.pitch=null",
        "quality.roll=null",
    ]
    assert main(["prepare", f"source={folder / 'videos'}", f"out={folder / 'data'}", *arguments]) == 0
    return motion, folder / "data"


def measured(root: Path) -> np.ndarray:
    (clip,) = FeatureShards(root, "train")
    return clip.motion


def test_pose_is_within_two_degrees(known: tuple[np.ndarray, Path]):
    truth, found = known[0], measured(known[1])
    assert len(found) == len(truth)
    angles = LAYOUT.groups["rotation"]
    error = np.abs(found[:, angles] - truth[:, angles]).mean(0)
    assert error.max() < 2.0, error


def test_the_lips_follow_the_truth(known: tuple[np.ndarray, Path]):
    from moda.codec.head import HeadCodec

    truth, found = known[0], measured(known[1])
    jaw = LAYOUT.index("jawOpen")
    assert np.corrcoef(found[:, jaw], truth[:, jaw])[0, 1] > 0.9
    assert np.corrcoef(HeadCodec().lip_aperture(found), truth[:, jaw])[0, 1] > 0.9
