"""Guidance, emotions over time and control signals on their way to the network."""

import numpy as np
import pytest
import torch
from sampler_support import IDENTITY, REST, STATISTICS, Oracle, audio_is_motion, features, oracle_sampler, real_sampler

from moda.errors import UserError
from moda.flow.rectified import RectifiedFlow
from moda.generation.emotion import NONE, parse_emotions
from moda.generation.sampler import MotionSampler
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics


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


def test_an_emotion_left_open_costs_no_pass_and_changes_nothing():
    sampler, scales = real_sampler("motion"), {"audio": 1.2, "emotion": 2.0}
    sizes = []
    sampler.network.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def sampled(*emotions):
        speech, identities, rests, seeds = ([value] * len(emotions) for value in (features(9), IDENTITY, REST, 0))
        return sampler.sample_batch(speech, identities, emotions, rests, seeds, guidance=scales)

    both = sampled(NONE, 2)  # one of them asks
    assert set(sizes) == {2 * 3}
    sizes.clear()
    alone = sampled(NONE)
    assert set(sizes) == {2}
    np.testing.assert_allclose(alone[0], both[0], atol=1e-5)


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
