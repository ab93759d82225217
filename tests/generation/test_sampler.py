"""Oracle networks whose velocity is known show what the sampler does with windows and conditions."""

from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.flow.rectified import RectifiedFlow
from moda.generation.emotion import parse_emotions
from moda.generation.published import PublishedWays
from moda.generation.sampler import MotionSampler, window_noise
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.motion.layout import MotionLayout, get_layout
from moda.motion.published import moda_statistics
from moda.motion.statistics import MotionStatistics

LAYOUT = MotionLayout("tiny", ("a", "b", "c"), MappingProxyType({}), MappingProxyType({}))
STATISTICS = MotionStatistics(LAYOUT, np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0]), 100)
REST = np.array([0.3, -1.0, 0.2], np.float32)
STAGES = [
    {"depth": 1, "groups": [["motion"], ["audio", "emotion", "identity"]]},
    {"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]},
]


class Oracle(nn.Module):
    """Knows the data exactly: flows from any noise straight to ``target(conditions)``."""

    motion_dim, audio_shape, identity_dim, num_emotions, context, controls = 3, (1, 3), 2, 8, 0, {}

    def __init__(self, target):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.target = target
        self.calls: list[dict] = []

    def forward(self, noisy_motion, timestep, **conditions):
        self.calls.append({"batch": len(noisy_motion), "timestep": timestep, **conditions})
        return (noisy_motion - self.target(noisy_motion, **conditions)) / (timestep / 1000)[:, None, None]


def audio_is_motion(noisy_motion, audio, **_):
    return audio[:, :, 0]


def count_on(noisy_motion, previous_motion, **_):
    """Each frame is the one before plus one."""
    return previous_motion + torch.arange(1.0, noisy_motion.shape[1] + 1)[:, None]


def oracle_sampler(target, window=16, overlap=4, published=None, **flow) -> MotionSampler:
    settings = RectifiedFlow(**({"steps": 2, "guidance": 1.0} | flow))
    where = {"window": window, "overlap": overlap, "published": published}
    return MotionSampler(Oracle(target), statistics=STATISTICS, flow=settings, **where)  # type: ignore[arg-type]


def awake(module: Any) -> Any:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def real_sampler(space: str, vae: MotionVAE | None = None, **changes) -> MotionSampler:
    torch.manual_seed(0)
    if space == "latent":
        vae = awake(vae or MotionVAE(3, latent_dim=5, width=8, stride=4))
    network = awake(MMDiT(5 if vae else 3, 1, 3, 2, stages=STAGES, width=16, heads=2))
    settings = {"window": 16, "overlap": 4, "previous": 4 if vae else 1, "flow": RectifiedFlow(steps=2)}
    return MotionSampler(network, statistics=STATISTICS, vae=vae, **(settings | changes))  # type: ignore[arg-type]


def features(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 1, 3)).astype(np.float32)


IDENTITY = np.array([0.5, -0.5], np.float32)


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


FULL = get_layout("liveportrait70")
PUBLISHED = moda_statistics()
PORTRAIT = np.where(np.arange(70) == 63, 2 * PUBLISHED.mean[63], PUBLISHED.mean).astype(np.float32)


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
        real_sampler("latent", reference_scale=True)
    with pytest.raises(UserError, match="model.space=motion"):
        real_sampler("latent", published=PublishedWays(smooth_windows=True))
    with pytest.raises(UserError, match="liveportrait70, not tiny"):
        real_sampler("motion", published=PublishedWays(shift_gaze=True))


def test_guidance_compares_with_the_dropped_conditions():
    def target(noisy_motion, drop_audio=None, drop_emotion=None, drop_identity=None, **_):
        assert drop_identity is None  # not among the guided
        if drop_audio is None:
            return torch.full_like(noisy_motion, 3.0)
        assert drop_emotion is not None and torch.equal(drop_audio, drop_emotion)
        return torch.where(drop_audio[:, None, None], 1.0, 3.0).expand_as(noisy_motion)

    sampler = oracle_sampler(target)
    for scale, value, batch in ((1.0, 3.0, 1), (2.0, 5.0, 2), (0.0, 1.0, 2)):
        motion = np.concatenate(list(sampler.sample(features(5), IDENTITY, 0, REST, guidance=scale, steps=1)))
        np.testing.assert_allclose(STATISTICS.normalize(motion), value, atol=1e-5)
        assert sampler.network.calls[-1]["batch"] == batch  # type: ignore[index]


def test_each_condition_has_its_own_scale():
    def target(noisy_motion, drop_audio, drop_emotion, **_):
        shown = 3.0 * ~drop_audio + 0.5 * ~drop_emotion
        return shown[:, None, None].expand_as(noisy_motion)

    sampler, scales = oracle_sampler(target), {"audio": 2.0, "emotion": 4.0}
    motion = np.concatenate(list(sampler.sample(features(5), IDENTITY, 0, REST, guidance=scales, steps=1)))
    np.testing.assert_allclose(STATISTICS.normalize(motion), 2 * 3 + 4 * 0.5, atol=1e-5)
    assert sampler.network.calls[-1]["batch"] == 3  # type: ignore[index]


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
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {"audio": features(5), "identity": IDENTITY, "emotion": 0, "rest": REST} | changes
    with pytest.raises(UserError, match=message):
        list(real_sampler("motion").sample(**arguments))


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


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_each_frame_follows_the_emotion_of_its_time(guidance):
    def level(noisy_motion, emotion, intensity, **conditions):
        dropped = conditions.get("drop_emotion", torch.zeros(len(emotion), dtype=torch.bool))
        value = torch.where(dropped, 0.0, emotion * intensity)
        return value[:, None, None].expand_as(noisy_motion)

    timeline = parse_emotions("happy:0.5@0-1,sad@1-")  # classes 4 and 6
    sampler = oracle_sampler(level, guidance=guidance)
    motions = sampler.sample_batch(
        [features(60), features(45)], [IDENTITY] * 2, [timeline, 3], [REST] * 2, [0, 1]
    )  # one changes, one does not
    first, second = (STATISTICS.normalize(motion)[:, 0] for motion in motions)
    np.testing.assert_allclose(first[:19], guidance * 2.0, atol=1e-4)
    np.testing.assert_allclose(first[31:], guidance * 6.0, atol=1e-4)
    assert (np.diff(first) > -1e-4).all()
    np.testing.assert_allclose(second, guidance * 3.0, atol=1e-4)


def test_a_window_of_one_emotion_is_one_pass():
    sampler = oracle_sampler(audio_is_motion)
    list(sampler.sample(features(60), IDENTITY, parse_emotions("happy@0-1.5,sad@1.5-"), REST))
    assert [call["batch"] for call in sampler.network.calls] == [1] * 2 + [1] * 2 + [2] * 4 + [1] * 2  # type: ignore[union-attr]


def head_sampler(controls: dict[str, int]) -> MotionSampler:
    layout = get_layout("head59")
    statistics = MotionStatistics(layout, np.full(59, 0.5), np.full(59, 2.0), 100)
    network = Oracle(lambda noisy_motion, controls=None, **_: torch.zeros_like(noisy_motion))
    network.motion_dim, network.controls = 59, controls
    return MotionSampler(
        network, statistics=statistics, window=16, overlap=4, flow=RectifiedFlow(steps=1, guidance=1.5)
    )  # type: ignore[arg-type]


def test_controls_reach_the_network_window_by_window_in_both_branches():
    sampler = head_sampler({"pose": 3, "distance": 1})
    yaw = np.arange(40.0)
    pose = np.stack([np.zeros(40), yaw, np.zeros(40)], 1)
    rest = np.zeros(59, np.float32)
    sampler.sample_batch(
        [features(40)] * 2, [IDENTITY] * 2, [8, 8], [rest] * 2, [0, 0], controls=[{"pose": pose}, None]
    )
    for number, call in enumerate(sampler.network.calls):  # type: ignore[arg-type]
        frames = np.minimum(np.arange(12 * number, 12 * number + 16), 39)
        for row in (0, 2):  # with and without the guided conditions
            np.testing.assert_allclose(call["controls"][row, :, 1], (yaw[frames] - 0.5) / 2.0, atol=1e-5)
            assert call["drop_controls"][row].tolist() == [False, True]
            assert call["drop_controls"][row + 1].tolist() == [True, True]


def test_controls_that_the_model_lacks_are_refused():
    with pytest.raises(UserError, match="trained without controls, it cannot obey pose"):
        oracle_sampler(audio_is_motion).sample(features(20), IDENTITY, 0, REST, controls={"pose": np.zeros((20, 3))})
    with pytest.raises(UserError, match="without the control gaze"):
        head_sampler({"pose": 3}).sample(
            features(20), IDENTITY, 0, np.zeros(59, np.float32), controls={"gaze": np.zeros((20, 2))}
        )


@pytest.mark.parametrize("window", [16, 8])
def test_the_motion_is_brought_to_the_controls_in_the_end(window):
    sampler = head_sampler({"pose": 3, "distance": 1})
    sampler.window = window
    pose, distance = np.random.default_rng(0).normal(0, 5, (40, 3)), np.linspace(0.9, 1.2, 40)[:, None]
    asked = {"pose": pose, "distance": distance}
    arguments = (features(40), IDENTITY, 8, np.zeros(59, np.float32))
    motion = np.concatenate(list(sampler.sample(*arguments, controls=asked)))
    np.testing.assert_allclose(motion[:, 56:59], pose, atol=1e-4)
    np.testing.assert_allclose(0.5 / motion[:, 52], distance[:, 0], atol=1e-4)
    alone = np.concatenate(list(sampler.sample(*arguments, controls=asked, exact=False)))
    np.testing.assert_array_equal(alone[:, :52], motion[:, :52])
    assert not np.allclose(alone[:, 56:59], pose, atol=1e-2)
