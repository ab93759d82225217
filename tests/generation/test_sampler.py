"""What the sampler does with windows, noise, seeds and batches."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sampler_support import (
    IDENTITY,
    LAYOUT,
    REST,
    STATISTICS,
    Oracle,
    audio_is_motion,
    count_on,
    features,
    oracle_sampler,
    real_sampler,
)
from torch import nn

from moda.errors import UserError
from moda.flow.rectified import RectifiedFlow
from moda.generation.noise import window_noise
from moda.generation.sampler import MotionSampler
from moda.models.motion_vae import MotionVAE
from moda.motion.statistics import MotionStatistics


@pytest.mark.parametrize("space", ["motion", "latent"])
@pytest.mark.parametrize("frames", [1, 3, 4, 15, 16, 17, 28, 29, 61])
def test_exactly_as_many_frames_as_asked(space, frames):
    motion = np.concatenate(list(real_sampler(space).sample(features(frames), IDENTITY, 1, REST)))
    assert motion.shape == (frames, 3) and motion.dtype == np.float32 and np.isfinite(motion).all()


@pytest.mark.parametrize(("window", "overlap"), [(16, 4), (16, 0), (16, 8), (5, 2), (1, 0)])
def test_every_frame_follows_its_own_audio(window, overlap):
    audio = features(53)
    motion = np.concatenate(list(oracle_sampler(audio_is_motion, window, overlap).sample(audio, IDENTITY, 0, REST)))
    np.testing.assert_allclose(STATISTICS.normalize(motion), audio[:, 0], atol=1e-5)


@pytest.mark.parametrize(("window", "overlap"), [(16, 4), (16, 0), (16, 8), (7, 3), (1, 0)])
def test_motion_goes_on_from_the_rest_and_from_window_to_window(window, overlap):
    motion = np.concatenate(list(oracle_sampler(count_on, window, overlap).sample(features(60), IDENTITY, 0, REST)))
    expected = STATISTICS.normalize(REST) + np.arange(1, 61)[:, None]
    np.testing.assert_allclose(STATISTICS.normalize(motion), expected, rtol=1e-5, atol=1e-4)


def test_windows_that_disagree_are_blended_linearly():
    windows = iter(range(10))

    def level(noisy_motion, **_):
        return torch.full_like(noisy_motion, next(windows))

    motion = np.concatenate(list(oracle_sampler(level, 8, 3, steps=1).sample(features(13), IDENTITY, 0, REST)))
    expected = [0, 0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(STATISTICS.normalize(motion)[:, 0], expected, atol=1e-5)


def test_features_beyond_the_length_fill_the_last_window_else_the_last_row():
    sampler = oracle_sampler(audio_is_motion)
    audio = features(40)
    assert sum(map(len, sampler.sample(audio, IDENTITY, 0, REST, length=20))) == 20
    seen = sampler.network.calls[-1]["audio"][0]  # type: ignore[index]
    np.testing.assert_array_equal(seen, audio[12:28])
    list(sampler.sample(audio[:20], IDENTITY, 0, REST))
    seen = sampler.network.calls[-1]["audio"][0]  # type: ignore[index]
    np.testing.assert_array_equal(seen, np.concatenate([audio[12:20], np.repeat(audio[19:20], 8, 0)]))


def test_frames_come_as_soon_as_they_are_final():
    sampler = oracle_sampler(audio_is_motion)
    chunks = sampler.sample(features(60), IDENTITY, 0, REST)
    assert len(next(chunks)) == 12  # the window without the overlap
    assert len(sampler.network.calls) == 2  # type: ignore[arg-type]  # the two steps of the first window
    assert [len(chunk) for chunk in chunks] == [12, 12, 12, 12]


@pytest.mark.parametrize("settings", [{}, {"causal": False}, {"causal": False, "depth": 3}])
def test_latents_decoded_in_pieces_equal_the_whole(settings):
    class Recorder(MotionSampler):
        def _decode(self, clip, tokens, last):
            recorded.append(tokens)
            return super()._decode(clip, tokens, last)

    recorded: list[torch.Tensor] = []
    plain = real_sampler("latent", MotionVAE(3, latent_dim=5, width=8, stride=4, **settings))
    assert plain.vae is not None
    sampler = Recorder(
        plain.network, statistics=STATISTICS, vae=plain.vae, window=16, overlap=4, previous=4, flow=plain.flow
    )
    motion = np.concatenate(list(sampler.sample(features(150), IDENTITY, 1, REST, seed=4)))
    with torch.inference_mode():
        rest = torch.tensor(STATISTICS.normalize(REST)).expand(1, 4, 3)
        tokens = torch.cat([plain.vae.encode(rest)[0][0], *(plain.vae.denormalize(part) for part in recorded)])
        whole = STATISTICS.denormalize(plain.vae.decode(tokens[None])[0, 4:154]).numpy()
    np.testing.assert_allclose(motion, whole, atol=1e-5)


@pytest.mark.parametrize("space", ["motion", "latent"])
def test_a_batch_equals_single_runs(space):
    sampler = real_sampler(space)
    audio = [features(frames, seed) for seed, frames in enumerate((50, 7, 90, 16))]
    rests = [REST, REST * 2, REST - 1, REST]
    emotions, seeds = [0, 8, 3, 3], [5, 5, 6, 0]
    batch = sampler.sample_batch(audio, [IDENTITY] * 4, emotions, rests, seeds, guidance=1.5)
    assert [len(motion) for motion in batch] == [50, 7, 90, 16]
    for i, motion in enumerate(batch):
        single = sampler.sample(audio[i], IDENTITY, emotions[i], rests[i], seed=seeds[i], guidance=1.5)
        np.testing.assert_allclose(motion, np.concatenate(list(single)), atol=2e-5)


def test_an_empty_batch_is_empty():
    assert real_sampler("motion").sample_batch([], [], [], [], []) == []


def test_seeds_decide():
    sampler = real_sampler("motion")

    def run(seed):
        return np.concatenate(list(sampler.sample(features(30), IDENTITY, 1, REST, seed=seed)))

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_dead_dimensions_stay_at_their_mean_and_out_of_the_network():
    dead = MotionStatistics(LAYOUT, STATISTICS.mean, np.array([2.0, 0.0, 1.0]), 100)

    def target(noisy_motion, previous_motion, **_):
        assert not noisy_motion[..., 1].any() and not previous_motion[..., 1].any()
        return torch.full_like(noisy_motion, 7.0)

    network: nn.Module = Oracle(target)
    sampler = MotionSampler(network, statistics=dead, window=8, overlap=2, flow=RectifiedFlow(steps=3))  # type: ignore[arg-type]
    motion = np.concatenate(list(sampler.sample(features(20), IDENTITY, 0, REST + 1, guidance=1.0)))
    np.testing.assert_allclose(motion[:, 1], -2.0)
    np.testing.assert_allclose(motion[:, 0], 2.0 * 7 + 1, rtol=1e-5)


def test_window_noise_is_a_function_of_seed_and_window():
    shape = (200, 50)
    torch.testing.assert_close(window_noise(3, 1, shape), window_noise(3, 1, shape), rtol=0, atol=0)
    first, *others = [window_noise(s, k, shape).flatten() for s, k in ((3, 1), (3, 2), (1, 3), (4, 1))]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([first, other]))[0, 1]) < 0.05
    assert abs(first.mean()) < 0.05 and abs(first.std() - 1) < 0.05


@pytest.mark.parametrize("overlap", [0, 4, 8])
def test_windows_start_from_the_same_noise_where_they_overlap(overlap):
    noise = [window_noise(3, window, (16, 50), overlap) for window in range(3)]
    for before, after in pairwise(noise):
        assert torch.equal(before[16 - overlap :], after[:overlap])
        assert abs(torch.corrcoef(torch.stack([before[:8].flatten(), after[8:].flatten()]))[0, 1]) < 0.15
    assert abs(torch.cat(noise).std() - 1) < 0.05


def test_noise_comes_again_after_its_period():
    sampler = oracle_sampler(lambda noisy_motion, **_: 2 * noisy_motion, steps=1)  # shows twice the noise
    given = ([features(100)], [IDENTITY], [0], [REST], [7])
    (again,), (never,) = sampler.sample_batch(*given, noise_period=3), sampler.sample_batch(*given)
    later = 3 * 12  # frames, windows being 16 long and overlapping by 4
    np.testing.assert_allclose(again[4:60], again[4 + later : 60 + later], atol=1e-5)
    np.testing.assert_array_equal(again[:later], never[:later])
    assert np.abs(never[4:60] - never[4 + later : 60 + later]).mean() > 0.5


def test_steps_are_taken_as_asked():
    sampler = oracle_sampler(audio_is_motion)
    list(sampler.sample(features(5), IDENTITY, 0, REST, steps=4))
    times = [call["timestep"].item() for call in sampler.network.calls]  # type: ignore[union-attr]
    assert times == [1000, 750, 500, 250]


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ("latent", {"window": 18}, "stride 4"),
        ("latent", {"overlap": 2}, "stride 4"),
        ("latent", {"previous": 1}, "stride 4"),
        ("motion", {"previous": 4}, "must be 1"),
        ("motion", {"overlap": 9}, "half the window"),
        ("motion", {"overlap": -1}, "half the window"),
        ("motion", {"window": 0}, "window 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(space, changes, message):
    with pytest.raises(UserError, match=message):
        real_sampler(space, **changes)


def test_parts_of_different_trainings_are_refused():
    latent = real_sampler("latent")
    with pytest.raises(UserError, match="5 channels"):
        MotionSampler(latent.network, statistics=STATISTICS, window=16, overlap=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": np.zeros((5, 2, 3), np.float32)}, "speech encoder"),
        ({"audio": np.zeros((0, 1, 3), np.float32)}, "speech features"),
        ({"identity": np.zeros(3, np.float32)}, "identity"),
        ({"emotion": 9}, "emotion 9"),
        ({"emotion": -1}, "emotion -1"),
        ({"rest": np.zeros(4, np.float32)}, "rest motion"),
        ({"rest": np.full(3, np.nan, np.float32)}, "NaN"),
        ({"seed": -1}, "seed"),
        ({"length": 6}, "length 6"),
        ({"length": 0}, "length 0"),
        ({"steps": 0}, "step"),
        ({"guidance": -1.0}, "negative"),
        ({"guidance": {"identity": 2.0}}, "guidance of identity"),
    ],
)
def test_wrong_arguments_are_named_before_the_first_frame_is_asked_for(changes, message):
    arguments = {"audio": features(5), "identity": IDENTITY, "emotion": 0, "rest": REST} | changes
    with pytest.raises(UserError, match=message):
        real_sampler("motion").sample(**arguments)


def test_a_network_with_context_goes_on_from_its_own_last_tokens():
    """Each frame is the mean of the last two plus one: only both of them tell it."""

    def both(noisy_motion, previous_motion, **_):
        assert previous_motion.shape[1] == 2
        frames = [*previous_motion.unbind(1)]
        for _ in range(noisy_motion.shape[1]):
            frames.append((frames[-1] + frames[-2]) / 2 + 1)
        return torch.stack(frames[2:], 1)

    network = Oracle(both)
    network.context = 2
    for overlap in (0, 4):
        sampler = MotionSampler(
            network, statistics=STATISTICS, window=8, overlap=overlap, previous=2, flow=RectifiedFlow(steps=2, guidance=1.0)
        )  # type: ignore[arg-type]  # fmt: skip
        motion = STATISTICS.normalize(np.concatenate(list(sampler.sample(features(40), IDENTITY, 0, REST))))
        expected = [STATISTICS.normalize(REST)] * 2
        for _ in range(40):
            expected.append((expected[-1] + expected[-2]) / 2 + 1)
        np.testing.assert_allclose(motion, expected[2:], rtol=1e-4, atol=1e-3)
    with pytest.raises(UserError, match="2: without a VAE"):
        MotionSampler(network, statistics=STATISTICS, window=8, overlap=0, previous=1)  # type: ignore[arg-type]
