"""The protocol on runs whose scores are known beforehand."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from moda.build import build
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.eval.metrics.errors import PartError
from moda.eval.motion.protocol import evaluate
from moda.eval.motion.results import results_of
from moda.flow.rectified import RectifiedFlow
from moda.motion.layout import get_layout


class Oracle:
    """Knows how the tiny data set's motion follows from its sound; late by ``delay`` frames."""

    network, device, flow, controls = SimpleNamespace(num_emotions=8), "cpu", RectifiedFlow(), None

    def __init__(self, delay=0):
        self.delay = delay
        self.mixing = np.random.default_rng(99).normal(0, 0.3, (6, 59))

    def sample(self, audio, identity, emotion, rest, *, seed, steps=None, guidance=None):
        motion = np.roll(np.asarray(audio, np.float64)[:, 0] @ self.mixing, self.delay, axis=0)
        yield (motion + np.random.default_rng(seed).normal(0, 0.01, motion.shape)).astype(np.float32)

    def sample_batch(self, audio, identities, emotions, rests, seeds, *, steps=None, guidance=None):
        whole = zip(audio, identities, emotions, rests, seeds, strict=True)
        return [np.concatenate(list(self.sample(*one[:4], seed=one[4]))) for one in whole]


@pytest.fixture
def oracle(monkeypatch):
    def install(delay=0):
        monkeypatch.setattr("moda.eval.motion.protocol.load_sampler", lambda export, device: Oracle(delay))

    return install


def value(evaluation, row, metric):
    return evaluation.scores[row][metric].value


def test_a_perfect_model_scores_like_truth_and_its_control_like_chance(make_dataset, make_run, codec, protocol, oracle):
    oracle()
    data = make_dataset(speakers={"train": ("ann",), "test": ("dan", "eve")}, clips=8, frames=120)
    result = evaluate(protocol(make_run(data)))
    assert len(result.clips) == 16 and not result.left_out
    assert value(result, "ground_truth", "lip_correlation") == pytest.approx(1)
    assert value(result, "model", "jaw_correlation") > 0.98
    assert value(result, "model", "lag") == 0
    assert abs(value(result, "mismatched_audio", "jaw_correlation")) < 0.2
    assert value(result, "mean_pose", "jaw_correlation") is None
    assert value(result, "ground_truth", "frechet_motion") == pytest.approx(0, abs=1e-5)
    assert value(result, "model", "frechet_motion") < value(result, "mean_pose", "frechet_motion")
    assert value(result, "model", "real_time_factor") > 0


def test_a_late_model_is_found_late(tiny_dataset, make_run, codec, protocol, oracle):
    oracle(delay=3)
    result = evaluate(protocol(make_run(tiny_dataset), rows=["model"], seeds=1))
    assert value(result, "model", "lag") == 3


def test_the_same_seed_gives_the_same_numbers(tiny_dataset, make_run, codec, protocol):
    run = make_run(tiny_dataset)
    first, again = (results_of(evaluate(protocol(run, seed=3)))["rows"] for _ in range(2))
    for row in first.values():
        row["scores"].pop("real_time_factor", None)
    for row in again.values():
        row["scores"].pop("real_time_factor", None)
    assert first == again
    other = results_of(evaluate(protocol(run, seed=4)))["rows"]
    assert other["model"]["scores"]["lip_correlation"] != first["model"]["scores"]["lip_correlation"]


def test_sound_bounds_what_is_compared_and_its_absence_is_said(
    filmed_dataset, tiny_dataset, make_run, codec, protocol, oracle
):
    oracle()
    heard = evaluate(protocol(make_run(filmed_dataset)))
    assert all(take.loudness is not None for takes in heard.takes["model"] for take in takes)
    truth = heard.takes["ground_truth"][0][0]
    assert truth.speech.start >= 4 and truth.speech.stop <= len(truth.truth) - 6
    assert not [note for note in heard.notes if "no sound" in note]
    assert any("no sound" in note for note in evaluate(protocol(make_run(tiny_dataset))).notes)


def test_mismatched_takes_cover_common_frames(filmed_dataset, make_run, codec, protocol, oracle):
    oracle()
    result = evaluate(protocol(make_run(filmed_dataset)))
    for clip, takes in zip(result.clips, result.takes["mismatched_audio"], strict=True):
        for take in takes:
            assert len(take.motion) == len(take.truth) == len(take.lips) <= clip.num_frames
            assert take.speech.start >= clip.speech.start and take.speech.stop <= clip.speech.stop


def test_a_short_clip_is_left_out_with_its_reason(make_dataset, make_run, codec, protocol):
    data = make_dataset(speakers={"train": ("ann",), "test": ("dan",)}, clips=6, frames=20)
    result = evaluate(protocol(make_run(data), rows=["ground_truth"]))
    assert len(result.clips) + len(result.left_out) == 6 and result.left_out
    assert all("shorter than 1 s" in item.reason for item in result.left_out)


def test_a_limited_number_of_clips_is_drawn_by_seed(tiny_dataset, make_run, codec, protocol):
    result = evaluate(protocol(make_run(tiny_dataset), rows=["ground_truth"], clips=2))
    assert len(result.clips) == 2
    assert [(item.what, "not drawn" in item.reason) for item in result.left_out] == [("1 clips", True)]


def test_a_single_clip_leaves_the_mismatched_row_out(make_dataset, make_run, codec, protocol):
    data = make_dataset(speakers={"train": ("ann",), "test": ("dan",)}, clips=1)
    result = evaluate(protocol(make_run(data)))
    assert "mismatched_audio" not in result.scores and "model" in result.scores
    assert any("mismatched audio" in note and "2 clips" in note for note in result.notes)


def test_another_data_set_and_a_leak_are_said(make_dataset, make_run, codec, protocol):
    data = make_dataset("a")
    other = make_dataset("b", seed=1, speakers={"train": ("ann", "dan"), "test": ("dan",)})
    notes = evaluate(protocol(make_run(data), data=other, rows=["ground_truth"])).notes
    assert any("is not the data set" in note for note in notes)
    assert any("speakers of the training split are scored: dan" in note for note in notes)


def test_baselines_stand_in_the_table_of_the_model(make_dataset, make_run, codec, protocol, oracle):
    oracle()
    data = make_dataset(speakers={"train": ("ann", "bob", "cid"), "test": ("dan",)}, clips=6, frames=120)
    result = evaluate(protocol(make_run(data)))
    assert list(result.scores) == [
        "ground_truth",
        "mean_pose",
        "nearest_neighbour",
        "ridge",
        "mismatched_audio",
        "model",
    ]
    assert value(result, "ridge", "jaw_correlation") > 0.98  # the data are linear
    assert 0 < value(result, "nearest_neighbour", "jaw_correlation") < value(result, "ridge", "jaw_correlation")
    assert not [note for note in result.notes if "left out" in note]


def test_a_motion_vae_is_scored_by_what_it_loses(make_dataset, make_run, codec, protocol):
    data = make_dataset()
    spec = {"_target_": "moda.models.motion_vae.MotionVAE", "motion_dim": 59, "latent_dim": 8, "width": 8}
    fsq = {"_target_": "moda.models.bottlenecks.FiniteScalarQuantizer", "levels": [5, 5]}
    metrics = {"error_lips": PartError("lips"), "error_rotation": PartError("rotation")}
    vae = build({**spec, "bottleneck": fsq})
    run = make_run(
        data, task="motion_vae", network=None, network_spec=None, vae=vae, vae_spec={**spec, "bottleneck": fsq}
    )
    result = evaluate(protocol(run, metrics=metrics, steps=None))
    assert list(result.scores) == ["ground_truth", "reconstruction", "mean_pose", "nearest_neighbour", "ridge"]
    assert value(result, "ground_truth", "error_lips") == 0 < value(result, "reconstruction", "error_lips")
    assert value(result, "mean_pose", "error_lips") == pytest.approx(1, abs=0.2)
    assert any(note.startswith("codebook: ") and "of 25 codes" in note for note in result.notes)
    asked = evaluate(protocol(run, metrics=metrics, steps=None, rows=["ground_truth", "model"]))
    assert any("the row 'model' is left out: this run has no transformer" in note for note in asked.notes)
    with pytest.raises(UserError, match="steps, solver: .*run is a motion VAE, which samples nothing"):
        evaluate(protocol(run, metrics=metrics, solver="heun"))


def test_the_codec_loses_what_it_loses(filmed_dataset, make_run, codec, protocol, monkeypatch):
    def encode(frames):
        opening = [np.count_nonzero(frame[32:, 30, 0] == 255) - 1 for frame in frames]
        motion = np.zeros((len(opening), 59), np.float32)
        motion[:, 24] = np.array(opening) / 20
        return SimpleNamespace(motion=motion)

    monkeypatch.setattr(codec, "encode", encode, raising=False)
    rows = ["ground_truth", "codec_ceiling"]
    result = evaluate(protocol(make_run(filmed_dataset), rows=rows))
    assert 0.9 < value(result, "codec_ceiling", "jaw_correlation") <= 1  # an opening below 0 is not seen
    assert value(result, "codec_ceiling", "frechet_motion") > 0


class Lawful:
    """A sync expert that knows the tiny data sets' law; a window is one frame, embedded as the lips or as what the sound makes of them."""

    window, matched, mismatched = 1, torch.tensor(1.0), torch.tensor(0.0)
    mixing = torch.from_numpy(np.random.default_rng(99).normal(0, 0.3, (6, 59))).float()

    def embed_motion(self, motion):
        return normalize(motion[..., list(get_layout("head59").subsets["lips"])], dim=-1)

    def embed_audio(self, audio):
        return self.embed_motion(audio[:, :, 0] @ self.mixing)


def test_a_sync_expert_judges_the_rows(make_dataset, make_run, codec, protocol, oracle, monkeypatch):
    oracle()
    loaded = Lawful(), SimpleNamespace(speakers=["dan", "zoe"])
    monkeypatch.setattr("moda.eval.motion.sync_expert.load_sync_expert", lambda *_: loaded)
    data = make_dataset(speakers={"train": ("ann", "bob"), "test": ("dan", "eve")}, clips=8, frames=120)
    result = evaluate(protocol(make_run(data), sync_expert="expert"))
    assert value(result, "ground_truth", "expert_agreement") == pytest.approx(1, abs=0.01)
    assert value(result, "model", "expert_offset") == 0 < value(result, "mismatched_audio", "expert_offset")
    assert value(result, "mismatched_audio", "expert_agreement") < 0.5
    assert any("sync expert was trained on speakers that are scored: dan" in note for note in result.notes)
    assert "expert_agreement" in results_of(result)["metrics"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "rk4"}, "unknown solver 'rk4'"),
        ({"guidance": {"identity": 2.0}}, "guidance of identity"),
        ({"sync_expert": Path("runs/nope")}, "nope does not exist"),
        ({"split": "exam"}, "no 'exam' split"),
        ({"rows": ["model", "magic"]}, "magic"),
        ({"span": "vowels"}, "span"),
        ({"seeds": 0}, "seeds is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": "abc"}, "steps is abc"),
        ({"guidance": "abc"}, "guidance of all conditions is abc"),
        ({"guidance": {"audio": "a"}}, "guidance of audio is a"),
        ({"guidance_interval": [0.1]}, r"guidance_interval=\[0.1\]: needs two numbers"),
        ({"shift": "a"}, "shift=a: must be above 0"),
    ],
)
def test_settings_that_cannot_be_followed_are_one_line(
    tiny_dataset, make_run, codec, protocol, monkeypatch, settings, message
):
    run = make_run(tiny_dataset)
    monkeypatch.setattr("moda.eval.motion.protocol._perform", lambda *_: pytest.fail("rows were sampled"))
    with pytest.raises(UserError, match=message) as caught:
        evaluate(protocol(run, **settings))
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_the_run_is_refused(tiny_dataset, make_dataset, make_run, codec, protocol, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        evaluate(protocol(tmp_path / "nowhere"))
    run = make_run(tiny_dataset)
    with pytest.raises(UserError, match="layout liveportrait70"):
        evaluate(protocol(run, data=make_dataset("other", layout="liveportrait70")))
    manifest = tiny_dataset.parent / "changed"
    shutil.copytree(tiny_dataset, manifest)
    text = (manifest / "dataset.json").read_text().replace('"audio-0"', '"audio-1"')
    (manifest / "dataset.json").write_text(text)
    assert DatasetManifest.load(manifest).audio_fingerprint == "audio-1"
    with pytest.raises(UserError, match="another speech encoder"):
        evaluate(protocol(run, data=manifest))
    shutil.rmtree(manifest)
