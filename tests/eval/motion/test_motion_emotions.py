"""The classifier of emotions, on motion whose emotions are planted."""

from types import SimpleNamespace

import numpy as np
import pytest

from moda.data.schema import EMOTIONS
from moda.errors import UserError
from moda.eval.motion.baselines import TrainingClips
from moda.eval.motion.emotions import INTENSITIES, EmotionClassifier, column_of, features_of, model_scores, truth_scores
from moda.eval.motion.rows import Settings
from moda.generation.emotion import Emotion

HAPPY, SAD, NEUTRAL = (EMOTIONS.index(name) for name in ("happiness", "sadness", "neutral"))
DIRECTIONS = {HAPPY: np.array([2.0, 0, 0, 0]), SAD: np.array([0, 2.0, 0, 0]), NEUTRAL: np.zeros(4)}


def acted(emotion: Emotion, seed: int, frames: int = 150) -> np.ndarray:
    """Motion whose level follows the emotion, more so with intensity."""
    rng = np.random.default_rng(seed)
    level = emotion.intensity * DIRECTIONS[emotion.index] + rng.normal(0, 0.4, 4)  # each clip's own
    return (level + rng.normal(0, 1, (frames, 4))).astype(np.float32)


def clips_of(emotions, seed):
    return [acted(emotion, seed + number) for number, emotion in enumerate(emotions)]


@pytest.fixture
def training():
    emotions = [Emotion(kind) for kind in DIRECTIONS for _ in range(20)] + [Emotion(HAPPY, 0.1)] * 20
    return TrainingClips(None, None, [], clips_of(emotions, 100), emotions)  # type: ignore[arg-type]


STATISTICS = SimpleNamespace(normalize=lambda motion: motion)


class Actor:
    """Shows what it is asked for, from ``threshold`` on."""

    def __init__(self, threshold=0.0):
        self.threshold = threshold

    def sample_batch(self, audio, identities, emotions, rests, seeds, *, steps=None, guidance=None):
        shown = [one if one.intensity >= self.threshold else Emotion(NEUTRAL) for one in emotions]
        return [acted(one, seed % 1000) for one, seed in zip(shown, seeds, strict=True)]


def held_out(emotions):
    return [
        SimpleNamespace(
            key=f"clip{number}", emotion=emotion, clip=SimpleNamespace(motion=motion, audio=motion, identity=motion[0])
        )
        for number, (emotion, motion) in enumerate(zip(emotions, clips_of(emotions, 900), strict=True))
    ]


def test_windows_of_two_seconds_and_a_short_clip_as_a_whole():
    assert features_of(np.zeros((149, 3))).shape == (4, 6)
    assert features_of(np.zeros((30, 3))).shape == (1, 6)


def test_planted_emotions_are_recognised_and_weak_ones_less(training):
    classifier = EmotionClassifier.fit(training)
    assert set(classifier.kinds) == set(DIRECTIONS)
    emotions = [Emotion(kind, intensity) for kind in (HAPPY, SAD) for intensity in INTENSITIES for _ in range(10)]
    scores = truth_scores(classifier, held_out(emotions), Settings(None, STATISTICS))  # type: ignore[arg-type]
    shares = [scores[column_of(intensity)].value for intensity in INTENSITIES]
    assert shares[-1] > 0.95 and shares[0] < 0.5 and scores[column_of(1)].n == 20


@pytest.mark.parametrize(("threshold", "recognised"), [(0.0, 1.0), (0.9, 1.0), (1.1, 0.0)])
def test_a_model_is_recognised_as_far_as_it_acts(training, threshold, recognised):
    clips, settings = held_out([Emotion(NEUTRAL)] * 10), Settings(Actor(threshold), STATISTICS)  # type: ignore[arg-type]
    scores = model_scores(EmotionClassifier.fit(training), clips, settings)  # type: ignore[arg-type]
    assert scores[column_of(1)].value == pytest.approx(recognised, abs=0.1)
    if threshold:
        assert scores[column_of(0.75)].value < 0.1


def test_without_labels_nothing_is_judged(training):
    unlabelled = TrainingClips(None, None, [], training.motion, [Emotion(len(EMOTIONS))] * len(training.motion))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="emotions are not judged"):
        EmotionClassifier.fit(unlabelled)
