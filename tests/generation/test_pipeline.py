"""moda generate from its inputs to the file, with a small network, and every way its inputs can be wrong."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from moda.audio.encoder import frames_of
from moda.cli.generate import codec_settings
from moda.cli.main import main
from moda.codec.base import Portrait
from moda.errors import UserError
from moda.generation.pipeline import generate, load_generator, load_sampler, render, sample_motion
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export, load_export, write_export
from moda.models.mmdit import MMDiT
from moda.motion.controls import ControlSpace
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

LAYOUT = get_layout("head59")
NETWORK = {
    "_target_": "moda.models.mmdit.MMDiT", "motion_dim": 59, "audio_layers": 1, "audio_dim": 2, "identity_dim": 3,
    "width": 8, "heads": 2, "stages": [{"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]}],
}  # fmt: skip


class GreyCodec:
    """Frames as bright as the jaw is open. ``fail_at`` breaks off like a full disk would."""

    name, fingerprint, layout, identity_dim, size = "grey", "codec-0", LAYOUT, 3, 64

    def __init__(self, fail_at=None):
        self.fail_at, self.decoded = fail_at, 0

    def portrait(self, source):
        if not str(source).startswith("head:") and not Path(source).is_file():
            raise UserError(f"{source} does not exist")
        return Portrait(np.ones(3, np.float32), np.zeros(59, np.float32), None)

    def decode(self, portrait, motion):
        for row in motion:
            if self.decoded == self.fail_at:
                raise RuntimeError("the renderer broke off")
            self.decoded += 1
            yield np.full((64, 64, 3), 128 + 100 * np.tanh(row[LAYOUT.index("jawOpen")]), np.uint8)


class EnergyEncoder:
    name, fingerprint, num_layers, dim = "energy", "audio-0", 1, 2

    def encode(self, waveform, num_frames=None):
        frames = num_frames or frames_of(len(waveform))
        padded = np.zeros(frames * 640, np.float32)
        padded[: len(waveform)] = waveform[: len(padded)]
        energy = padded.reshape(frames, 640).std(1)
        return np.stack([energy, 1 - energy], 1)[:, None].astype(np.float32)


@pytest.fixture
def codec():
    return GreyCodec()


@pytest.fixture
def run(tmp_path, codec, monkeypatch):
    """A run whose export names components that exist in this test alone."""
    torch.manual_seed(0)
    network = MMDiT(**{name: value for name, value in NETWORK.items() if name != "_target_"})
    for parameter in network.parameters():  # as they start, the conditions reach nothing
        torch.nn.init.normal_(parameter, std=0.3)
    statistics = MotionStatistics(LAYOUT, np.zeros(59), np.full(59, 0.5), 100)
    export = Export(
        task="dit", step=1, identity=MotionIdentity(statistics, "codec-0", "audio-0"), codec_spec={"is": "codec"},
        audio_spec={"is": "encoder"}, audio_layers=1, audio_dim=2, identity_dim=3, dataset_fingerprint="data-0",
        network=network, network_spec=NETWORK, window=16, overlap=4, previous=1,
    )  # fmt: skip
    write_export(tmp_path / "run" / "export", export)
    parts = {"codec": codec, "encoder": EnergyEncoder()}
    monkeypatch.setattr("moda.generation.pipeline.build", lambda spec: parts[spec["is"]])
    return tmp_path / "run"


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.2, 44_100 * 2 + 500), 44_100)
    return path


def frames_and_sound(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return np.array(frames), samples


def test_the_video_shows_the_motion_for_as_long_as_the_speech(run, speech, tmp_path):
    out = tmp_path / "new" / "talk.mp4"
    made = generate(run, "head:1", speech, out, seed=1, motion_file=tmp_path / "motion.npz", show_progress=False)
    frames, samples = frames_and_sound(out)
    assert made.num_frames == len(frames) == 51  # 2.011 s
    assert abs(samples - 51 * 640) <= 1024
    assert made.duration == 51 / 25 and made.real_time_factor > 0
    kept = np.load(tmp_path / "motion.npz", allow_pickle=False)
    assert kept["motion"].shape == (51, 59) and kept["layout"] == "head59" and kept["fps"] == 25
    jaw = np.tanh(kept["motion"][:, LAYOUT.index("jawOpen")])
    assert np.corrcoef(frames, jaw)[0, 1] > 0.99


def test_seeds_repeat_and_differ_and_emotion_matters(run):
    generator = load_generator(run)
    waveform = np.random.default_rng(1).normal(0, 0.2, 16_000).astype(np.float32)
    face = generator.codec.portrait("head:0")

    def motion(seed, emotion=8):
        return np.concatenate(list(sample_motion(generator, face, waveform, emotion=emotion, seed=seed, steps=3)))

    assert np.array_equal(motion(0), motion(0))
    assert not np.allclose(motion(0), motion(1))
    assert not np.allclose(motion(0), motion(0, emotion=4))


def test_an_emotion_that_the_run_never_sees_is_refused(run, speech, tmp_path, monkeypatch):
    generator = load_generator(run)
    generator.sampler.network.without = ("emotion",)
    monkeypatch.setattr("moda.generation.pipeline.load_generator", lambda *_, **__: generator)
    with pytest.raises(UserError, match=r"trained without emotions .* leave out happy"):
        generate(run, "head:1", speech, tmp_path / "talk.mp4", emotion="happy", show_progress=False)
    generate(run, "head:1", speech, tmp_path / "talk.mp4", steps=1, show_progress=False)


def test_what_the_flow_cannot_do_is_refused_before_the_sound_is_encoded(run, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(EnergyEncoder, "encode", lambda *_: pytest.fail("the sound was encoded"))
    with pytest.raises(UserError, match="guidance of identity"):
        generate(run, "head:1", speech, tmp_path / "talk.mp4", guidance={"identity": 2.0}, show_progress=False)


def test_frames_come_before_the_speech_is_sampled_to_its_end(run, codec):
    generator = load_generator(run)
    chunks = sample_motion(
        generator, codec.portrait("head:0"), np.ones(640 * 200, np.float32), emotion=8, seed=0, steps=1
    )
    assert len(next(chunks)) == 12  # a window of 16 without the 4 that overlap the next


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("unshown", [(), ("pose",), ("gaze", "distance")])
def test_a_signal_that_the_codec_does_not_show_is_told(run, speech, tmp_path, codec, monkeypatch, unshown):
    codec.unshown = unshown
    space = ControlSpace(["pose"], MotionStatistics(LAYOUT, np.zeros(59), np.full(59, 0.5), 100))
    asked = tmp_path / "asked.csv"
    asked.write_text("time,pitch,yaw,roll\n0,0,1,0\n")
    generator = load_generator(run)
    generator.sampler.controls = space
    monkeypatch.setattr("moda.generation.pipeline.load_generator", lambda *_, **__: generator)
    monkeypatch.setattr(generator.sampler, "_asked", lambda *_: None)
    expected = (
        pytest.warns(UserWarning, match="pose of .*asked.csv will not be seen") if "pose" in unshown else nullcontext()
    )
    with expected:
        generate(run, "head:1", speech, tmp_path / "talk.mp4", steps=1, controls=asked, show_progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "talk.avi"}, "must end in .mp4"),
        ({"out": "."}, "must end in .mp4"),
        ({"audio": "nothing.wav"}, "nothing.wav does not exist"),
        ({"portrait": "nobody.jpg"}, "nobody.jpg does not exist"),
        ({"checkpoint": "nowhere"}, "nowhere does not exist"),
        ({"emotion": "boredom"}, "unknown emotion 'boredom'; known: anger"),
        ({"steps": 0}, "steps is 0"),
        ({"guidance": float("nan")}, "guidance of all conditions is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"size": 127}, "size is 127"),
        ({"motion_file": "motion.txt"}, "must end in .npz"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(run, speech, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    arguments = {"checkpoint": run, "portrait": "head:0", "audio": speech, "out": "talk.mp4"} | changes
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        generate(**arguments, show_progress=False)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_input_is_never_overwritten(run, speech, tmp_path):
    video = tmp_path / "speech.mp4"
    video.write_bytes(speech.read_bytes())
    with pytest.raises(UserError, match="one of the inputs"):
        generate(run, "head:0", video, tmp_path / "x" / ".." / "speech.mp4", show_progress=False)


@pytest.mark.parametrize(("part", "word"), [("codec", "codec"), ("encoder", "speech encoder")])
def test_parts_other_than_those_of_training_are_refused(run, speech, tmp_path, monkeypatch, part, word):
    monkeypatch.setattr(GreyCodec if part == "codec" else EnergyEncoder, "fingerprint", "another")
    with pytest.raises(UserError, match=f"{word} here .* is not the one that the training data was made with"):
        generate(run, "head:0", speech, tmp_path / "talk.mp4", show_progress=False)


def test_a_run_of_a_motion_vae_alone_says_what_it_cannot_do(run):
    export = dataclasses.replace(load_export(run), network=None, task="motion_vae")
    with pytest.raises(UserError, match="task=motion_vae, which cannot generate; name a run of task=dit"):
        load_sampler(export)


class PastingCodec(GreyCodec):
    """Stands each frame in the middle of a wider, white picture."""

    def picture_size(self, portrait):
        return 64, 96

    def paste_back(self, portrait, frames):
        for frame in frames:
            yield np.pad(frame, ((0, 0), (16, 16), (0, 0)), constant_values=255)


def test_pasted_back_the_video_is_the_whole_picture(run, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("moda.generation.pipeline.load_codec", lambda spec, fingerprint: PastingCodec())
    generate(run, "head:1", speech, tmp_path / "talk.mp4", paste_back=True, show_progress=False)
    with av.open(str(tmp_path / "talk.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert (
        len(frames) == 51 and frames[0].shape == (64, 96) and frames[0][:, :8].mean() > 240 > frames[0][:, 40:56].mean()
    )


def test_only_a_codec_that_can_pastes_back_and_never_at_another_size(run, speech, tmp_path):
    with pytest.raises(UserError, match="grey codec renders no part of a picture"):
        generate(run, "head:1", speech, tmp_path / "talk.mp4", paste_back=True, show_progress=False)
    with pytest.raises(UserError, match="size does nothing beside paste_back"):
        generate(run, "head:1", speech, tmp_path / "talk.mp4", paste_back=True, size=128, show_progress=False)
    assert not (tmp_path / "talk.mp4").exists()


def test_settings_and_device_of_the_codec_reach_it(run, monkeypatch):
    spec = {"_target_": "moda.codec.liveportrait.LivePortraitCodec", "device": "auto", "driving": {"mode": "absolute"}}
    export = dataclasses.replace(load_export(run), codec_spec=spec)
    seen = []
    monkeypatch.setattr("moda.generation.pipeline.load_export", lambda path: export)
    monkeypatch.setattr("moda.generation.pipeline.load_codec", lambda spec, fingerprint: seen.append(spec))
    settings = codec_settings(["driving.mode=relative", "driving.eye_ratio=0.3", "directory=weights"])
    load_generator(run, device="cpu", size=256, codec=settings)
    load_generator(run)
    assert seen == [spec | {"device": "cpu", "size": 256, "directory": "weights", "driving": {"mode": "relative", "eye_ratio": 0.3}}, spec]  # fmt: skip
    with pytest.raises(UserError, match="no setting 'colour'"):
        load_generator(run, codec={"colour": 1})
    with pytest.raises(UserError, match="--codec colour is not of the form NAME=VALUE"):
        codec_settings(["colour"])


def test_motion_that_was_made_for_a_portrait_is_a_change_from_its_rest(run):
    generator, starts = load_generator(run), []
    decode = generator.codec.decode
    generator.codec.decode = lambda portrait, motion: starts.append(portrait.start) or decode(portrait, motion)
    pieces = [np.full((n, 59), n, np.float32) for n in (2, 3, 1)]
    portrait = generator.codec.portrait("head:0")
    assert len(list(render(generator.codec, portrait, pieces))) == 6
    assert len(starts) == 3 and all(np.array_equal(start, portrait.rest) for start in starts)


def test_a_failure_on_the_way_leaves_no_video(run, speech, codec, tmp_path):
    codec.fail_at = 20
    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="broke off"):
        generate(run, "head:0", speech, tmp_path / "out" / "talk.mp4", show_progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_says_what_it_made(run, speech, tmp_path, capsys):
    out = tmp_path / "talk.mp4"
    arguments = [
        "generate",
        "--checkpoint",
        str(run),
        "--portrait",
        "head:3",
        "--audio",
        str(speech),
        "--out",
        str(out),
    ]
    assert main([*arguments, "--emotion", "happiness", "--steps", "2", "--guidance", "1.5", "--no-progress"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{out}: 2.04 s, 51 frames") and "real-time factor" in line and "\n" not in line
    assert main([*arguments, "--emotion", "boredom"]) == 1
    assert "unknown emotion" in capsys.readouterr().err
