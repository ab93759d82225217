"""SyncNet, its MFCC and the whole sync score against the originals' numbers."""

import numpy as np
import pytest
import torch
from golden_rule import by_rule, generator, matches, normal_input, uniform_input

from moda.errors import UserError
from moda.eval.mfcc import mfcc
from moda.eval.networks import SyncNet
from moda.eval.sync import distance_curve, sync_score

AUDIO = (-0.0286700352, 1.87898133, [-1.729527, -1.486847, -2.417994, -1.641439, 1.181729, -3.230203, -2.319041, 2.258321, 0.5046303, 1.404646, -0.5592245, 0.03052934])  # fmt: skip
LIP = (0.43291923, 24.8325382, [6.18836, 23.2014, -21.27895, 20.20404, 12.65731, -40.11786, 33.22645, 10.4286, -21.00674, -36.78039, -28.54079, 37.01275])  # fmt: skip
MFCC = (-4.26042842, 12.07336, [21.89165, 2.380934, -7.022519, -1.628027, -10.49384, -0.7619115, -3.088934, -6.987477, -1.060955, 4.919167, -34.69613, -11.67667])  # fmt: skip
CURVE = [
    691.75311, 691.87616, 692.00018, 692.12067, 692.23651, 692.35669, 692.46899, 692.57465, 692.71173, 692.85028, 692.96808,
    693.09491, 693.23352, 693.36627, 693.48236, 693.60382, 693.47913, 693.36578, 693.24084, 693.12097, 692.99731, 692.87634,
    692.7356, 692.62463, 692.49969, 692.37891, 692.25098, 692.15424, 692.04767, 691.92902, 691.81085,
]  # fmt: skip
ULP = 6.2e-5  # of float32 at 692, all that the original's numbers are known to


@pytest.fixture(scope="module")
def network():
    return by_rule(SyncNet)


def clip(frames: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, 224, 224, 3) of 14 x 14 grey blocks and noise as sound."""
    blocks = (255 * generator("input:av_frames").random((40, 14, 14, 3))).astype(np.uint8)[:frames]
    sound = (3000 * generator("input:av_audio").standard_normal(40 * 640)).astype(np.int16)[: frames * 640]
    return blocks.repeat(16, 1).repeat(16, 2), sound


def test_embeddings_agree_with_the_original(network):
    assert matches(network.embed_audio(10 * normal_input("mfcc", (2, 1, 13, 20))), AUDIO)
    frames = 255 * uniform_input("frames", (2, 3, 5, 224, 224))
    assert matches(network.embed_video(frames), LIP)


def test_a_sequence_embeds_as_its_windows(network):
    frames = 255 * uniform_input("sequence", (3, 7, 224, 224))
    windows = torch.stack([frames[:, begin : begin + 5] for begin in range(3)])
    torch.testing.assert_close(network.embed_sequence(frames), network.embed_video(windows), rtol=1e-4, atol=1e-3)


def test_mfcc_agrees_with_the_original():
    sound = clip()[1]
    assert mfcc(sound).shape == (159, 13)
    assert matches(mfcc(sound), MFCC)


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3)])
def test_mfcc_counts_and_fills_the_last_window(samples, steps):
    sound = np.full(samples, 1000, np.int16)
    assert mfcc(sound).shape == (steps, 13)
    fading = 1000 * 0.97 ** np.arange(1, steps * 160 + 241 - samples)  # which pre-emphasis turns into zeros
    np.testing.assert_allclose(mfcc(sound), mfcc(np.concatenate([sound, fading])), atol=1e-6)


def test_mfcc_of_nothing_is_finite():
    assert np.isfinite(mfcc(np.zeros(1600, np.int16))).all()
    assert mfcc(np.zeros(1600, np.int16))[0, 0] == pytest.approx(np.log(np.finfo(float).eps))
    for unusable in (np.zeros(0, np.int16), np.zeros((1600, 2), np.int16)):
        with pytest.raises(UserError, match="one channel of sound"):
            mfcc(unusable)


def test_the_score_agrees_with_the_original(network):
    score = sync_score(*clip(), network)
    assert np.abs(score.curve - np.array(CURVE)).max() < 2 * ULP
    assert score.offset == 15
    assert score.sync_d == pytest.approx(691.7531, abs=2 * ULP)
    assert score.sync_c == pytest.approx(0.871521, abs=3 * ULP)


def test_only_the_windows_count(network):
    frames, sound = clip(8)
    score = sync_score(frames, sound, network)
    changed = frames.copy()
    changed[7] = 0  # 8 frames are windows 0 to 2, which end at frame 6
    np.testing.assert_allclose(sync_score(changed, sound, network).curve, score.curve, rtol=1e-6)
    reversed_twice = np.ascontiguousarray(frames[..., ::-1])[..., ::-1]  # as RGB from a decoder is handed over
    np.testing.assert_array_equal(sync_score(reversed_twice, sound, network).curve, score.curve)
    longer = np.concatenate([sound, sound])  # the sound's own windows do not move
    np.testing.assert_allclose(sync_score(frames, longer, network).curve, score.curve, rtol=1e-5)


class Loud(SyncNet):
    """Bright mouths belong to loud sounds, and nothing had to be learnt."""

    def embed_sequence(self, frames):
        return frames.mean((0, 2, 3)).unfold(0, 5, 1) / 10

    def embed_audio(self, mfcc):
        return (
            mfcc[:, 0, 0, 2::4] - 5.4
        )  # the logarithm of the energy in the middle of each frame, at the mouth's scale


def test_offset_and_distance_follow_the_shift_of_the_sound():
    rng = np.random.default_rng(0)
    level = np.convolve(rng.normal(0, 1, 160), np.ones(8) / 8, "same")
    level = 12 + 3 * level / level.std()  # of the logarithm of the energy
    frames = np.broadcast_to((10 * level).astype(np.uint8)[:, None, None, None], (160, 224, 224, 3))
    sound = rng.normal(0, 1, 160 * 640) * np.exp((level - level.mean()) / 2).repeat(640) * 300
    sound = sound.clip(-32768, 32767).astype(np.int16)
    network, at_none, confidence = Loud(), [], []
    for early in (0, 1, 2, 3, 5, 8):
        score = sync_score(frames[: -15 or None], sound[640 * early :], network)
        assert score.offset == early
        assert sync_score(frames[early:], sound, network).offset == -early
        at_none.append(score.curve[15])
        confidence.append(score.sync_c)
    assert at_none == sorted(at_none) and len(set(at_none)) == len(at_none)
    beyond = sync_score(frames[:100], sound[640 * 40 :], network)  # further than anything is looked for
    assert beyond.sync_c < 0.5 * min(confidence) and beyond.sync_d > 1.5 * score.sync_d


def test_scoring_leaves_a_network_in_training_as_it_was():
    network = SyncNet()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    sync_score(*clip(6), network)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("late", [-5, 0, 3, 15])
def test_the_curve_finds_a_planted_shift(late):
    mouths = torch.randn(80, 64, generator=torch.Generator().manual_seed(0))
    curve = distance_curve(mouths, mouths.roll(late, 0))
    assert curve.shape == (31,)
    assert int(curve.argmin()) - 15 == late


def test_beyond_the_ends_the_sound_is_zero():
    ones = torch.ones(2, 4)
    curve = distance_curve(ones, ones, shift=2)
    np.testing.assert_allclose(curve.numpy(), [2, 1, 0, 1, 2], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames, sound: (frames[:5], sound), "5 frames and 5120 samples are 5 frames with sound"),
        (lambda frames, sound: (frames, sound[: 5 * 640 + 639]), "8 frames and 3839 samples are 5 frames"),
        (lambda frames, sound: (frames, sound // 30000), "silent"),
        (lambda frames, sound: (frames, sound.astype(np.float32)), "int16 samples"),
        (lambda frames, sound: (frames, sound[:, None]), "int16 samples"),
        (lambda frames, sound: (frames[:, ::2, ::2], sound), "uint8 BGR frames"),
        (lambda frames, sound: (frames.astype(np.float32), sound), "uint8 BGR frames"),
    ],
)
def test_unusable_clips_are_named(network, change, message):
    frames, sound = change(*clip(8))
    with pytest.raises(UserError, match=message) as error:
        sync_score(frames, sound, network)
    assert "\n" not in str(error.value)


def test_wrong_shapes_are_named(network):
    with pytest.raises(UserError, match="embed_audio takes"):
        network.embed_audio(torch.zeros(1, 13, 20))
    with pytest.raises(UserError, match="embed_video takes"):
        network.embed_video(torch.zeros(1, 3, 5, 112, 112))
    with pytest.raises(UserError, match="T of 5 or more"):
        network.embed_sequence(torch.zeros(3, 4, 224, 224))
