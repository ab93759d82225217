"""p, b and m in the sound, and the lips at them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from video_support import PROTOCOL, write_video

from moda.errors import UserError
from moda.eval.metrics.closure import BilabialClosure
from moda.eval.takes import Take
from moda.eval.videos.extractors.phones import BILABIALS, PhoneExtractor, peaks
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import View
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

STATISTICS = MotionStatistics(get_layout("head59"), np.zeros(59), np.full(59, 0.1), 1000)
METRIC = BilabialClosure()


def take(lips: np.ndarray, bilabials: np.ndarray | None) -> Take:
    motion = np.zeros((len(lips), 59))
    return Take("clip", motion, motion, lips, lips, None, slice(0, len(lips)), STATISTICS, bilabials=bilabials)


def test_peaks_are_the_maxima_of_runs_also_at_the_ends():
    curve = np.array([0.9, 0.1, 0.4, 0.8, 0.5, 0.1, 0.3, 0.1, 0.7])
    assert peaks(curve, 0.35).tolist() == [0, 3, 8]
    assert peaks(np.zeros(5), 0.35).tolist() == []


def test_the_outputs_are_those_of_p_b_and_m():
    names = pytest.importorskip("hama.vocab").Vocabulary.load(None).decoder
    assert {names[i][0] for i in BILABIALS} == {"p", "b", "m"}
    assert {i for i, name in enumerate(names) if name[0] in "pbm"} == set(BILABIALS)


def test_lips_that_shut_at_every_bilabial_score_one_and_elsewhere_nothing():
    lips, at = np.full(200, 0.3), np.array([20, 70, 120, 170])
    lips[at] = 0.0
    assert METRIC.of_take(take(lips, at)) > 0.9
    wide = np.full(200, 0.1)
    wide[(at[:, None] + np.arange(-4, 5)).ravel()] = 0.5  # opens for them instead
    assert METRIC.of_take(take(wide, at)) < 0.2
    assert METRIC.of_take(take(lips, at + 25)) == pytest.approx(0.5, abs=0.1)


def test_chance_scores_a_half():
    rng = np.random.default_rng(0)
    found = [METRIC.of_take(take(rng.random(200), rng.choice(200, 10, replace=False))) for _ in range(50)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_undefined_without_sound_with_still_lips_and_with_too_few_bilabials():
    lips, at = np.random.default_rng(0).random(200), np.array([20, 70, 120])
    assert np.isfinite(METRIC.of_take(take(lips, at)))
    for other in (take(lips, None), take(np.full(200, 0.2), at), take(lips, at[:2])):
        assert np.isnan(METRIC.of_take(other))
    unheard = replace(take(lips, at), speech=slice(100, 110))  # they lie outside of the speech
    assert np.isnan(METRIC.of_take(unheard))


def test_noise_holds_no_bilabials_and_a_silent_video_is_named(tmp_path: Path):
    extractor = PhoneExtractor()
    noise = View(open_source(write_video(tmp_path / "noise.mp4")), PROTOCOL)
    assert extractor.begin(noise).finish()["bilabials"].size <= 1
    silent = View(open_source(write_video(tmp_path / "silent.mp4", sound=False)), PROTOCOL)
    with pytest.raises(UserError):
        extractor.begin(silent).finish()
