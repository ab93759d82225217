"""The published pipeline's ways of sampling, each off by default."""

import numpy as np
import pytest
import torch
from sampler_support import IDENTITY, REST, STAGES, STATISTICS, Oracle, awake, features, oracle_sampler, real_sampler

from moda.errors import UserError
from moda.flow.rectified import RectifiedFlow
from moda.generation.noise import window_noise
from moda.generation.published import PublishedWays
from moda.generation.sampler import MotionSampler
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.motion.controls import measure
from moda.motion.layout import get_layout
from moda.motion.published import moda_statistics
from moda.motion.reference import resize

FULL = get_layout("liveportrait70")
PUBLISHED = moda_statistics()
PORTRAIT = np.where(np.arange(70) == 63, 2 * PUBLISHED.mean[63], PUBLISHED.mean).astype(np.float32)


def stochastic(noisy_motion, **_):
    """A network that leaves the noise as it is: samples are their noise."""
    return noisy_motion


def test_shared_noise_is_what_is_blended_unless_the_published_way_is_asked_for():
    audio = features(28)
    for ways, same in ((PublishedWays(), True), (PublishedWays(fresh_noise=True), False)):
        sampler = oracle_sampler(stochastic, published=ways)
        motion = STATISTICS.normalize(np.concatenate(list(sampler.sample(audio, IDENTITY, 0, REST, seed=5, steps=1))))
        first = window_noise(5, 0, (16, 3)).numpy()
        assert np.allclose(motion[12:16], first[12:16], atol=1e-5) is same


class FullOracle(Oracle):
    motion_dim = 70


def published_sampler(target, **settings) -> MotionSampler:
    settings = {"window": 16, "overlap": 4, "flow": RectifiedFlow(steps=2, guidance=1.0)} | settings
    return MotionSampler(FullOracle(target), statistics=PUBLISHED, **settings)  # type: ignore[arg-type]


def sampled(sampler, frames, **settings) -> np.ndarray:
    return np.concatenate(list(sampler.sample(features(frames), IDENTITY, 0, PORTRAIT, **settings)))


def test_a_large_face_is_sampled_at_the_mean_scale_and_comes_back_large():
    seen = []

    def still(noisy_motion, previous_motion, **_):
        seen.append(previous_motion[0, 0].clone())
        return torch.zeros_like(noisy_motion)  # the mean

    motion = sampled(published_sampler(still, reference_scale=True), 20)
    assert seen[0][63] == pytest.approx(0, abs=1e-4)  # at the mean scale
    assert seen[0][65] == pytest.approx(-0.5 * PUBLISHED.mean[65] / PUBLISHED.divisor[65], rel=1e-4)
    np.testing.assert_allclose(motion[:, 63:66], np.tile(2 * PUBLISHED.mean[63:66], (20, 1)), rtol=1e-4)
    np.testing.assert_allclose(motion[:, :63], np.tile(PUBLISHED.mean[:63], (20, 1)), atol=1e-6)
    np.testing.assert_allclose(sampled(published_sampler(still), 20)[:, 63], PUBLISHED.mean[63], rtol=1e-5)


def test_of_latents_too_a_larger_face_moves_as_a_smaller_one():
    torch.manual_seed(0)
    vae, network = (
        awake(MotionVAE(70, latent_dim=5, width=8, stride=4)),
        awake(MMDiT(5, 1, 3, 2, stages=STAGES, width=16, heads=2)),
    )
    flow = RectifiedFlow(steps=2, guidance=1.0)
    sampler = MotionSampler(
        network, statistics=PUBLISHED, vae=vae, window=16, overlap=4, previous=4, flow=flow, reference_scale=True
    )
    once = sampler.sample(features(40), IDENTITY, 0, resize(PORTRAIT, 0.5, FULL))
    twice = sampler.sample(features(40), IDENTITY, 0, PORTRAIT)
    small, large = (np.concatenate(list(parts)) for parts in (once, twice))
    np.testing.assert_allclose(large, resize(small, 2, FULL), rtol=1e-3, atol=1e-4)
    assert small.std(0).max() > 0.01


def test_poses_are_smoothed_within_windows():
    rough = torch.tensor([[-1.0], [1.0]]).repeat(8, 70)

    def target(noisy_motion, **_):
        return rough[None].expand_as(noisy_motion)

    motion = PUBLISHED.normalize(sampled(published_sampler(target, published=PublishedWays(smooth_windows=True)), 16))
    np.testing.assert_allclose(motion[:, :63], rough[:, :63], atol=1e-3)
    np.testing.assert_allclose(np.abs(motion[1:-1, 67:]), 1 / 3, atol=1e-3)


def test_the_clip_is_finished_as_a_whole_with_the_silence_after_it_cut_off():
    ways = PublishedWays(smooth_clip=True, silence=0.4, amplify_lips=True, shift_gaze=True)

    def target(noisy_motion, audio, **_):
        return audio[:, :, 0, :1].expand_as(noisy_motion)

    audio = features(60)
    audio[40:] = -0.25  # the lips' rest
    sampler = published_sampler(target, published=ways)
    parts = list(sampler.sample(audio, IDENTITY, 0, PORTRAIT, length=40))
    assert len(parts) == 1 and parts[0].shape == (40, 70) and parts[0].dtype == np.float32
    plain = published_sampler(target)
    raw = np.concatenate(list(plain.sample(audio, IDENTITY, 0, PORTRAIT, length=50)))
    np.testing.assert_allclose(parts[0], ways.finish(raw, 40, PUBLISHED), atol=1e-6)
    lip = FULL.subsets["lips"][0]
    rest, before, after = raw[-1, lip], raw[:40, lip], parts[0][:, lip]
    moved = np.abs(before - rest) > 1e-3
    assert (np.abs(after - rest)[moved] > 1.1 * np.abs(before - rest)[moved]).all()
    batch = sampler.sample_batch([audio, audio[:30]], [IDENTITY] * 2, [0, 0], [PORTRAIT] * 2, [0, 0], lengths=[40, 20])
    np.testing.assert_allclose(batch[0], parts[0], atol=1e-5)
    assert batch[1].shape == (20, 70)


def test_by_default_no_published_way_is_taken():
    assert not PublishedWays().whole_clip and PublishedWays().tail(25) == 0
    raw = features(20)[:, 0].repeat(24, axis=1)[:, :70]
    np.testing.assert_array_equal(PublishedWays().finish(raw, 20, PUBLISHED), raw)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"silence": -1.0}, "silence"), ({"silence": 2.0}, "does nothing without published.amplify_lips")],
)
def test_published_ways_that_do_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        PublishedWays(**settings)


def test_published_ways_of_motion_are_refused_elsewhere():
    with pytest.raises(UserError, match="model.space=motion"):
        real_sampler("latent", published=PublishedWays(smooth_windows=True))
    with pytest.raises(UserError, match="liveportrait70, not tiny"):
        real_sampler("motion", published=PublishedWays(shift_gaze=True))


def test_controls_hold_after_the_clip_is_finished():
    sampler = published_sampler(
        lambda noisy_motion, controls=None, **_: noisy_motion,
        published=PublishedWays(smooth_clip=True, amplify_lips=True, shift_gaze=True, silence=0.4),
    )
    sampler.network.controls = {"pose": 3, "gaze": 2}
    sampler = MotionSampler(
        sampler.network, statistics=PUBLISHED, window=16, overlap=4, flow=sampler.flow, published=sampler.published
    )
    rng = np.random.default_rng(0)
    asked = {"pose": rng.normal(0, 5, (40, 3)), "gaze": rng.normal(0, 5, (40, 2))}
    audio = features(60)
    (motion,) = sampler.sample(audio, IDENTITY, 0, PORTRAIT, length=40, controls=asked)
    for name, values in asked.items():
        np.testing.assert_allclose(measure(name, motion, PUBLISHED), values, atol=1e-3)
    assert len(motion) == 40
