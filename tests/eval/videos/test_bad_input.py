"""Videos as folders hold them: each fault is named in one line, none counts as zero, and the rest is scored."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from video_support import MeanExtractor

from moda.cli.main import main
from moda.codec.head.codec import HeadCodec
from moda.eval.networks import SyncNet
from moda.eval.networks.syncnet import WIDTH
from moda.eval.videos import evaluate
from moda.eval.videos.extractors.detectors import LandmarkDetector
from moda.eval.videos.extractors.faces import FaceExtractor
from moda.eval.videos.extractors.sync import SyncExtractor
from moda.generation.video import VideoWriter

FRAMES, SIDE = 24, 128
JAW = HeadCodec.layout.index("jawOpen")

# fault of a method's clip -> what is said of it where it is left out
LEFT_OUT = {
    "short": "sync: 0.3 s are too short for sync",
    "silent": "is silent",
    "mute": "has no sound",
    "uneven": "has no sound",
    "faceless": "a face was found in 0 of 24 frames",
    "other_size": "neither square nor of the size of the reference's",
    "cut_short": "the file was truncated",
    "overwritten": "corrupt",
    "empty": "the file is empty",
    "text": "not a video",
    "missing": "m has no such video",
    "extra": "the reference has no such clip",
}


def write(path: Path, frames: list[np.ndarray], sound: np.ndarray | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, frames[0].shape[:2], audio=sound, crf=18) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_uneven(path: Path, frames: list[np.ndarray]) -> None:
    """At 20 and 60 ms in turn, without sound: as telephones record."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        time = 0
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            time += 20 if number % 2 else 60
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """real/CLIP.mp4, all the same head; made/m/CLIP.mp4, one fault each, and two that are whole."""
    codec = HeadCodec(size=SIDE, supersample=1)
    portrait = codec.portrait("head:0")
    rng = np.random.default_rng(0)
    opening = np.clip(np.convolve(rng.normal(0, 1, FRAMES), np.ones(4) / 2, "same"), 0, 1).astype(np.float32)
    motion = np.tile(portrait.rest, (FRAMES, 1))
    motion[:, JAW] += 0.6 * opening
    frames = list(codec.decode(portrait, motion))
    sound = (rng.normal(0, 0.2, FRAMES * 640) * opening.repeat(640)).astype(np.float32)

    made = tmp_path / "made/m"
    whole = write(made / "whole.mp4", frames, sound)
    shutil.copy(whole, made / "extra.mp4")
    data = whole.read_bytes()
    write(made / "fewer.mp4", frames[:20], sound[: 20 * 640])
    write(made / "short.mp4", frames[:7], sound[: 7 * 640])
    write(made / "silent.mp4", frames, 0 * sound)
    write(made / "mute.mp4", frames, None)
    write(made / "faceless.mp4", [rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8) for _ in frames], sound)
    write(made / "other_size.mp4", [np.ascontiguousarray(frame[:80]) for frame in frames], sound)
    write_uneven(made / "uneven.mp4", frames)
    (made / "cut_short.mp4").write_bytes(data[: len(data) // 2])
    (made / "overwritten.mp4").write_bytes(data[:2000] + bytes(len(data) // 2) + data[2000 + len(data) // 2 :])
    (made / "empty.mp4").touch()
    (made / "text.mp4").write_text("no video, whatever its name")
    (tmp_path / "real").mkdir()
    for video in [*made.iterdir(), Path("missing.mp4")]:
        if video.stem != "extra":
            shutil.copy(whole, tmp_path / "real" / video.name)
    return tmp_path


class Level(SyncNet):
    """Embeds the brightness of a mouth and the loudness of a sound; no network is run."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.one = torch.nn.Parameter(torch.ones(1, WIDTH), requires_grad=False)

    def embed_sequence(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.mean((0, 2, 3)).unfold(0, 5, 1).mean(1)[:, None] * self.one

    def embed_audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        return mfcc.mean((1, 2, 3))[:, None] * self.one


def extractors(networks, protocol, device):
    sync = SyncExtractor(Level(), "0", "own SyncNet", LandmarkDetector(), protocol)
    return [MeanExtractor(), FaceExtractor(), sync]


@pytest.mark.slow
def test_every_fault_is_named_and_the_rest_is_scored(folders: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(evaluate, "build_extractors", extractors)
    assert main([
        "evaluate", f"generated={folders / 'made'}", f"reference={folders / 'real'}", f"out={folders / 'out'}",
        "protocol.resamples=100", "protocol.sync_min_seconds=0.5", "protocol.min_track=5", "protocol.size=128",
        "protocol.pad=192",
        "+codec.size=64", "+codec.supersample=1",
    ]) == 0  # fmt: skip
    results = json.loads((folders / "out/results.json").read_text())
    row = results["rows"]["m"]
    said: dict[str, list[str]] = {}
    for entry in results["left_out"]:
        if entry["row"] == "m":
            said.setdefault(entry["what"], []).append(entry["reason"])
    assert set(said) == set(LEFT_OUT)
    for fault, reason in LEFT_OUT.items():
        assert any(reason in line for line in said[fault]) and not any("\n" in line for line in said[fault]), fault
    assert any("unevenly spaced in time" in note and "m uneven" in note for note in results["notes"])
    assert any("fewer 20 and 24; short 7 and 24; uneven 25 and 24" in note for note in results["notes"])
    printed = capsys.readouterr().out
    assert all(note in printed for note in results["notes"])

    clips = {name: set(found["per_clip"]) for name, found in row["scores"].items() if found["per_clip"]}
    with_sound, seen = {"whole", "fewer"}, {"whole", "fewer", "short", "silent", "mute", "uneven"}
    assert clips["sync_c"] == clips["sync_d"] == clips["audio_visual_correlation"] == with_sound
    assert clips["lip_landmark_distance"] == clips["smoothness"] == seen
    for name, found in row["scores"].items():
        if found["per_clip"]:
            assert clips[name] <= seen and found["n"] == len(clips[name])
            if name != "beat_alignment":  # a share of all beats
                assert found["value"] == pytest.approx(np.mean(list(found["per_clip"].values()))), name
    assert (row["clips_used"], row["clips_left_out"]) == (len(seen) + 1, 7)  # pictures of the faceless clip too


def test_nothing_but_garbage_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    def build(networks, protocol, device):
        return [MeanExtractor(), MeanExtractor("identity", label="CSIM")]

    monkeypatch.setattr(evaluate, "build_extractors", build)
    (tmp_path / "made").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"made/{name}.mp4").write_text("no video, whatever its name")
    (tmp_path / "made/speed.json").write_text('{"real_time_factor": 0.4}')  # is told, not measured
    assert main(["evaluate", f"generated={tmp_path / 'made'}", f"out={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err.strip()
    assert "nothing could be measured" in error and "made a: " in error and "not a video" in error and "\n" not in error
