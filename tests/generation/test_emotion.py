import math

import numpy as np
import pytest

from moda.data.schema import EMOTIONS
from moda.errors import UserError
from moda.generation.emotion import NONE, Emotion, Span, check_within, mixture, parse_emotions, timeline_of

HAPPY, SAD = EMOTIONS.index("happiness"), EMOTIONS.index("sadness")


def test_what_a_user_may_write():
    assert parse_emotions("happy") == (Span(Emotion(HAPPY)),)
    assert parse_emotions("happiness:0.25") == (Span(Emotion(HAPPY, 0.25)),)
    assert parse_emotions("happy:0.8@0-3,sad@3-6") == (
        Span(Emotion(HAPPY, 0.8), 0, 3),
        Span(Emotion(SAD), 3, 6),
    )
    assert parse_emotions(" sad@1.5- , happy@-1 ") == (Span(Emotion(HAPPY), 0, 1), Span(Emotion(SAD), 1.5, math.inf))
    assert [span.emotion.index for span in parse_emotions("angry@0-1,afraid@1-2,surprised@2-3,neutral@3-4")] == [
        0,
        3,
        7,
        5,
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glee", "unknown emotion 'glee'; known: anger"),
        ("", "cannot be read; give NAME"),
        ("happy:", "intensity '' is no number from 0 to 1"),
        ("happy:1.5", "intensity '1.5' is no number from 0 to 1"),
        ("happy:-1", "intensity '-1'"),
        ("happy:nan", "intensity 'nan'"),
        ("happy@3", "cannot be read"),
        ("happy@a-3", "start 'a' is no number of seconds"),
        ("happy@3-2", "ends at 2 s, before it has begun"),
        ("happy@0-3,sad@2-4", "two spans overlap from 2 s"),
        ("happy@2-,sad@3-4", "overlap"),
        ("happy,sad", "'happy' does not say when"),
        ("neutral:0.5", "neutral has no intensity"),
        ("happy@0-inf", "end 'inf'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_emotions(text)
    assert "\n" not in str(caught.value)


def test_a_span_after_the_speech_is_refused():
    check_within(parse_emotions("happy@0-3,sad@3-60"), 5.0)
    with pytest.raises(UserError, match="sadness begins at 9 s, but the speech lasts 5.00 s"):
        check_within(parse_emotions("happy@0-3,sad@9-10"), 5.0)


def test_a_span_that_no_frame_shows_is_refused():
    check_within(parse_emotions("happy@0-0.021"), 5.0)
    check_within(parse_emotions("happy@4.97-"), 5.0)
    with pytest.raises(UserError, match="happiness from 0 to 0.01 s falls between two frames; give it 0.04 s or more"):
        check_within(parse_emotions("happy@0-0.01"), 5.0)
    with pytest.raises(UserError, match="happiness begins at 4.99 s, but the speech lasts 5.00 s"):
        check_within(parse_emotions("happy@4.99-"), 5.0)


def test_one_emotion_is_one_row_in_every_window():
    for first in (0, 64, 128):
        emotions, weights = mixture(timeline_of(Emotion(HAPPY, 0.5)), first, 80, 1, 25)
        assert emotions == [Emotion(HAPPY, 0.5)] and (weights == 1).all()
    assert mixture(timeline_of(NONE), 0, 20, 4, 25)[0] == [NONE]


@pytest.mark.parametrize("stride", [1, 4])
def test_a_change_falls_on_its_time_and_fades(stride):
    emotions, weights = mixture(parse_emotions("happy@0-2,sad@2-"), 0, 80 // stride, stride, 25)
    assert [emotion.index for emotion in emotions] == [HAPPY, SAD]
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-6)
    sad = weights[1]
    assert (np.diff(sad) >= 0).all() and sad[0] == 0 and sad[-1] == 1
    middle = np.interp(0.5, sad, (np.arange(len(sad)) + 0.5) * stride / 25)
    assert middle == pytest.approx(2.0, abs=0.02)
    inside = (sad > 0) & (sad < 1)
    assert 0.2 <= inside.sum() * stride / 25 <= 0.6


def test_windows_see_the_same_moment_alike():
    timeline = parse_emotions("happy:0.4@1-3,sad@3.5-4")
    whole_emotions, whole = mixture(timeline, 0, 144, 1, 25)
    emotions, part = mixture(timeline, 64, 80, 1, 25)
    for emotion, row in zip(emotions, part, strict=True):
        np.testing.assert_allclose(row, whole[whole_emotions.index(emotion), 64:], atol=1e-6)
    assert NONE in emotions  # between the spans and after them the emotion is left open


def test_an_emotion_that_comes_twice_is_one_row():
    emotions, _ = mixture(parse_emotions("happy@0-1,sad@1-2,happy@2-3"), 0, 80, 1, 25)
    assert len(emotions) == 3  # with none, after 3 s
