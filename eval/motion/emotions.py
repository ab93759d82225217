"""Is the emotion that was asked for the one that is seen? By a classifier that learned from real motion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda.data.schema import EMOTIONS
from moda.errors import UserError
from moda.eval.metrics.base import Column, Score, mean_score
from moda.eval.motion.baselines import TrainingClips
from moda.eval.motion.clips import HeldOutClip
from moda.eval.motion.rows import Settings, perform
from moda.generation.emotion import Emotion

WINDOW, STEP = 50, 25  # frames that are judged together, and from one judgement to the next
STRONG = 0.5  # intensity from which a training clip teaches its emotion
SHRINKAGE = 0.1  # of the covariance towards its mean variance
FEWEST = 2  # training clips of an emotion
INTENSITIES = (0.25, 0.5, 0.75, 1.0)
NEUTRAL = EMOTIONS.index("neutral")


def column_of(intensity: float) -> str:
    return f"emotion_recognised_{round(100 * intensity)}"


COLUMNS = {
    column_of(intensity): Column(
        title=f"emotion recognised at {intensity:g}",
        meaning="share of clips, each asked for every emotion at this intensity, whose motion a linear discriminant trained on "
        "the training set's motion takes for that emotion; of ground truth: clips whose intensity is nearest to this",
        group="emotion",
        unit="share",
        better="higher",
    )
    for intensity in INTENSITIES
}


@dataclass(frozen=True)
class EmotionClassifier:
    """Linear discriminant (Fisher, 1936) of mean and spread of the motion over two seconds.

    kinds: emotions it knows, (K,). weights (K, F), bias (K,): log-likelihood up to what all have in common.
    """

    kinds: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, training: TrainingClips) -> "EmotionClassifier":
        """From clips whose emotion is neutral or strong. Raises UserError where fewer than two emotions are labelled."""
        clips: dict[int, list[np.ndarray]] = {}
        for motion, emotion in zip(training.motion, training.emotions, strict=True):
            strong = emotion.index == NEUTRAL or emotion.intensity >= STRONG
            if emotion.index < len(EMOTIONS) and strong and len(motion) >= WINDOW:
                clips.setdefault(emotion.index, []).append(features_of(motion))
        known = {index: np.concatenate(found) for index, found in sorted(clips.items()) if len(found) >= FEWEST}
        if len(known) < 2:
            raise UserError("emotions are not judged: fewer than two of them have two labelled training clips")
        means = np.stack([rows.mean(0) for rows in known.values()])
        within = np.concatenate([rows - rows.mean(0) for rows in known.values()])
        covariance = within.T @ within / len(within)
        covariance += SHRINKAGE * np.diag(covariance).mean() * np.eye(len(covariance))
        weights = np.linalg.solve(covariance, means.T).T
        return cls(np.array(list(known)), weights, -0.5 * (weights * means).sum(1))

    def __call__(self, motion: np.ndarray) -> int:
        """The emotion of normalised motion (T, D), from all of its windows."""
        return int(self.kinds[(features_of(motion) @ self.weights.T + self.bias).mean(0).argmax()])


def features_of(motion: np.ndarray) -> np.ndarray:
    """Normalised (T, D) to (n, 2 D): mean and standard deviation of windows; one window where T is less than that."""
    starts = range(0, max(len(motion) - WINDOW, 0) + 1, STEP)
    windows = [motion[start : start + WINDOW].astype(np.float64) for start in starts]
    return np.stack([np.concatenate([part.mean(0), part.std(0)]) for part in windows])


def truth_scores(classifier: EmotionClassifier, clips: Sequence[HeldOutClip], settings: Settings) -> dict[str, Score]:
    """How often the clips' own motion is recognised, by the label's intensity: what the classifier itself can do."""
    found: dict[str, dict[str, float]] = {column: {} for column in COLUMNS}
    for clip in clips:
        emotion = clip.emotion
        if emotion.index in classifier.kinds and emotion.index != NEUTRAL:
            nearest = min(INTENSITIES, key=lambda intensity: abs(intensity - emotion.intensity))
            seen = classifier(settings.statistics.normalize(clip.clip.motion))
            found[column_of(nearest)][clip.key] = float(seen == emotion.index)
    return {column: mean_score(by_clip, seed=settings.seed) for column, by_clip in found.items()}


def model_scores(classifier: EmotionClassifier, clips: Sequence[HeldOutClip], settings: Settings) -> dict[str, Score]:
    """How often the model's motion is recognised: every clip with every emotion at every intensity."""
    kinds = [int(kind) for kind in classifier.kinds if kind != NEUTRAL]
    scores = {}
    for intensity in INTENSITIES:
        seen = {clip.key: np.zeros(len(kinds)) for clip in clips}
        for place, kind in enumerate(kinds):
            asked = perform(clips, clips, 0, settings, emotion=Emotion(kind, intensity))
            for clip, made in zip(clips, asked, strict=True):
                seen[clip.key][place] = classifier(settings.statistics.normalize(made.motion)) == kind
        by_clip = {key: float(shares.mean()) for key, shares in seen.items()}
        scores[column_of(intensity)] = mean_score(by_clip, seed=settings.seed)
    return scores
