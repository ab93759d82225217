"""Pairing of clips for mismatched audio, and the rows that need no model."""

from types import SimpleNamespace

import numpy as np
import pytest

from moda.eval.motion.rows import mean_pose
from moda.eval.pairing import Voice, derangements
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics


def voice(speaker, text, frames=100):
    return Voice(speaker, f"{speaker}/{text}.mp4", frames)


def test_derangements_have_no_fixed_point_and_share_no_pair():
    voices = [voice(s, t) for s in "ab" for t in "012345"]
    found = derangements(voices, 3, seed=0)
    assert len(found) == 3
    for givers in found:
        assert sorted(givers) == list(range(12))
        assert all(i != j for i, j in enumerate(givers))
    for i in range(12):
        assert len({givers[i] for givers in found}) == 3
    assert found == derangements(voices, 3, seed=0) != derangements(voices, 3, seed=1)


def test_another_speaker_and_another_text_are_preferred():
    voices = [voice(s, t) for s in "abc" for t in "0123"]
    for givers in derangements(voices, 3, seed=5):
        for i, j in enumerate(givers):
            assert voices[i].speaker != voices[j].speaker
            assert voices[i].source[2:] != voices[j].source[2:]


def test_few_clips_give_few_derangements():
    assert derangements([voice("a", "0")], 3, seed=0) == []
    assert derangements([voice("a", "0"), voice("a", "1")], 3, seed=0) == [[1, 0]]


def test_mean_pose_is_the_training_mean_for_as_long_as_the_clip():
    layout = get_layout("head59")
    statistics = MotionStatistics(layout, np.linspace(0, 1, 59), np.ones(59), 10)
    [[performance]] = mean_pose([voice("a", "0", frames=30)], SimpleNamespace(statistics=statistics))
    assert performance.motion.shape == (30, 59)
    assert np.ptp(performance.motion, axis=0).max() == 0
    assert performance.motion[0] == pytest.approx(statistics.mean)
