"""Metrics against closed forms and known shifts."""

from dataclasses import replace

import numpy as np
import pytest

from moda.eval.metrics.beats import BeatAlignment
from moda.eval.metrics.blinks import BlinkRate, count_blinks
from moda.eval.metrics.closure import BilabialClosure
from moda.eval.metrics.correlation import DimensionCorrelation, LipCorrelation, pearson
from moda.eval.metrics.diversity import Diversity, Liveliness, MotionRange
from moda.eval.metrics.frechet import FrechetMotion
from moda.eval.metrics.lag import AudioVisualLag, Lag, WithinOneFrame, best_lag, cross_correlation
from moda.eval.metrics.loudness import AudioVisualCorrelation, frame_energy, loudness, speech_span
from moda.eval.metrics.smoothness import Smoothness, mean_jerk
from moda.eval.takes import Take, group_scale
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

LAYOUT = get_layout("head59")
JAW = LAYOUT.index("jawOpen")
STATISTICS = MotionStatistics(LAYOUT, np.zeros(59), np.full(59, 0.1), 1000)


def random_motion(frames=100, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (frames, 59))


def take(motion, truth, sound=None, speech=None, key="clip"):
    speech = speech or slice(0, len(truth))
    return Take(key, motion, truth, motion[:, JAW], truth[:, JAW], sound, speech, STATISTICS)


def test_pearson_agrees_with_numpy_and_is_undefined_for_a_still_curve():
    a, b = random_motion()[:, 0], random_motion(seed=1)[:, 0] + 0.5 * random_motion()[:, 0]
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, -2 * a + 3) == pytest.approx(-1)
    assert np.isnan(pearson(a, np.full(100, 0.3)))
    assert np.isnan(pearson(a[:5], b[:5]))


@pytest.mark.parametrize("shift", [-4, -1, 0, 3, 9])
def test_lag_finds_the_shift_and_its_sign(shift):
    curve = np.random.default_rng(0).normal(size=160)
    truth, late = curve[20:120], curve[20 - shift : 120 - shift]  # late[t] = truth[t - shift]
    assert best_lag(late, truth) == shift
    assert cross_correlation(late, truth).max() == pytest.approx(1)


def test_lag_metrics_score_a_row_over_clips():
    curve = random_motion(130)
    late = [[take(curve[15 - k : 115 - k], curve[15:115], key=f"{k}")] for k in (0, 1, 5)]
    assert Lag().score(late).value == pytest.approx(2)
    assert WithinOneFrame().score(late).value == pytest.approx(2 / 3)
    sound = [[take(curve[15 - k : 115 - k], curve[15:115], sound=curve[15:115, JAW], key=f"{k}")] for k in (0, 1, 5)]
    assert AudioVisualLag().score(sound).value == pytest.approx(2)


def test_correlations_look_at_the_speech_alone():
    truth, other = random_motion(), random_motion(seed=1)
    motion = np.concatenate([truth[:50], other[50:]])
    assert LipCorrelation().of_take(take(motion, truth, speech=slice(0, 50))) == pytest.approx(1)
    assert DimensionCorrelation("jaw_open").of_take(take(motion, truth, speech=slice(0, 50))) == pytest.approx(1)
    assert abs(LipCorrelation().of_take(take(motion, truth, speech=slice(50, 100)))) < 0.4
    assert np.isnan(DimensionCorrelation("no_such_subset").of_take(take(motion, truth)))


def test_a_still_row_has_no_correlation_rather_than_a_number():
    still = [[take(np.zeros((100, 59)), random_motion())]]
    score = LipCorrelation().score(still)
    assert score.value is None and score.n == 0 and score.interval is None
    assert MotionRange().score(still).value == 0


def test_the_tremble_of_landmarks_on_a_still_picture_is_no_motion():
    """What MediaPipe sees in a re-encoded still follows no sound and no beat, by chance too."""
    rng, sound = np.random.default_rng(0), np.random.default_rng(1).random(100)
    trembling, moving = (scale * rng.normal(size=(100, 59)) for scale in (0.0024, 0.05))
    moving[:, -3:] *= 20  # degrees
    bilabials = np.arange(5, 95, 10)
    for metric in (
        AudioVisualCorrelation(),
        AudioVisualLag(),
        BilabialClosure(),
        BeatAlignment(),
        LipCorrelation(),
        Lag(),
    ):
        seen = (replace(take(motion, moving, sound=sound), bilabials=bilabials) for motion in (trembling, moving))
        of_tremble, of_motion = (metric.of_take(one) for one in seen)
        assert np.isnan(of_tremble) and np.isfinite(of_motion), metric.title


def test_loudness_is_by_frame_and_the_span_leaves_out_silence():
    wave = np.zeros(640 * 20, np.float32)
    wave[640 * 5 : 640 * 12] = 0.5
    assert frame_energy(wave, 20) == pytest.approx(np.r_[np.zeros(5), np.full(7, 0.5), np.zeros(8)])
    assert len(loudness(wave, 25)) == 25 and loudness(wave, 25)[24] == 0
    assert speech_span(wave, 20) == slice(5, 12)
    assert speech_span(np.zeros(6400, np.float32), 10) == slice(0, 10)


def test_audio_visual_correlation_needs_sound():
    truth = random_motion()
    assert np.isnan(AudioVisualCorrelation().of_take(take(truth, truth)))
    assert AudioVisualCorrelation().of_take(take(truth, truth, sound=truth[:, JAW] * 3)) == pytest.approx(1)


def test_frechet_motion_is_zero_for_truth_and_counts_what_is_missing():
    truths = [random_motion(200, seed) for seed in range(4)]
    metric = FrechetMotion()
    same = metric.score([[take(truth, truth)] for truth in truths])
    still = metric.score([[take(np.zeros_like(truth), truth)] for truth in truths])
    weak = metric.score([[take(0.7 * truth, truth)] for truth in truths])
    assert same.value == pytest.approx(0, abs=1e-6) and same.n == 4
    assert same.value < weak.value < still.value
    # a motionless row misses the whole variance of the 32 leading components
    assert still.value > 32


def test_frechet_motion_keeps_as_much_of_many_clips_as_of_a_few():
    truths = [random_motion(40, seed) for seed in range(70)]
    clips = ([take(truth + 0.1, truth, key=str(number))] for number, truth in enumerate(truths))
    tally = FrechetMotion().tally()
    for takes in clips:
        tally.add(takes)
    assert len(tally.groups) == 64
    score = tally.score()
    assert score.n == 70 and score.interval is not None and score.interval[0] < score.value < score.interval[1]
    together = FrechetMotion().score([[take(np.concatenate(truths) + 0.1, np.concatenate(truths))]])
    assert score.value == pytest.approx(together.value, rel=0.02)  # but for the steps from clip to clip


def test_frechet_motion_leaves_out_a_clip_of_a_single_frame():
    truths = [random_motion(90, seed) for seed in range(3)]
    whole = [[take(truth + 0.1, truth, key=str(seed))] for seed, truth in enumerate(truths)]
    many, one = truths[0], truths[0][:1]
    short = [[take(motion, truth)] for motion, truth in ((one, one), (many, one), (one, many))]
    scores = [FrechetMotion().score(clips) for clips in (whole, [*whole, *short])]
    assert scores[0] == scores[1] and scores[1].n == 3
    beside = [[takes[0], replace(takes[0], motion=takes[0].motion[:1])] for takes in whole]  # one of its two takes
    assert FrechetMotion().score(beside) == scores[0]
    assert FrechetMotion().score(short).value is None and FrechetMotion().score([]).value is None


def test_diversity_is_the_spread_over_takes():
    truth = random_motion()
    apart = [[take(truth + offset, truth) for offset in (-0.1, 0.1)]]
    assert Diversity().score(apart).value == pytest.approx(np.sqrt(2))  # ±1 standard deviation of training
    assert Diversity().score([[take(truth, truth)]]).value is None


def test_ranges_and_smoothness_are_ratios_to_truth():
    truth = random_motion()
    half = [[take(0.5 * truth, truth)]]
    for metric in (Liveliness(), MotionRange(), Smoothness()):
        assert metric.score(half).value == pytest.approx(0.5)
    slow = np.sin(np.linspace(0, 6, 100))[:, None].repeat(59, 1)
    assert Smoothness().of_take(take(slow, truth)) < 0.1
    time = np.arange(50)[:, None] / 25
    assert mean_jerk(time**3, fps=25) == pytest.approx(6)  # d³/dt³ t³


def test_blinks_are_counted_once_each():
    closure = np.zeros(250)
    closure[50:54], closure[120:126] = 0.9, [0.5, 0.8, 0.4, 0.6, 0.4, 0.3]
    assert count_blinks(closure) == 2
    motion = np.zeros((250, 59))
    motion[:, list(LAYOUT.subsets["blink"])] = closure[:, None]
    assert BlinkRate().of_take(take(motion, motion)) == pytest.approx(2 * 6)  # in ten seconds


def test_a_dimension_that_hardly_moved_in_training_does_not_outweigh_the_others():
    std = np.full(59, 0.1)
    std[0] = 2e-4
    scale = group_scale(MotionStatistics(LAYOUT, np.zeros(59), std, 100))
    assert scale[:52] == pytest.approx(0.1 * np.sqrt(51 / 52), rel=1e-4) and scale[52:] == pytest.approx(0.1)
    assert group_scale(MotionStatistics(LAYOUT, np.zeros(59), np.zeros(59), 100)) == pytest.approx(1)


def test_one_clip_has_a_score_and_no_interval():
    truth = random_motion()
    one, two = (Smoothness().score([[take(0.5 * truth, truth, key=key)] for key in keys]) for keys in ("a", "ab"))
    assert one.value == pytest.approx(0.5) and one.interval is None and one.n == 1
    assert two.interval == pytest.approx((0.5, 0.5)) and two.n == 2
