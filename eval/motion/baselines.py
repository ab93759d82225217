"""Motion without a network: from the training set's nearest sound, and by ridge regression on the same features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moda.data.schema import DatasetManifest
from moda.data.shards import Clip, FeatureShards
from moda.errors import UserError
from moda.generation.emotion import Emotion, emotion_of
from moda.motion.statistics import MotionStatistics

MOST_FRAMES = 100_000  # of training that the baselines learn from: more than an hour
SAMPLE_FRAMES = 8192  # that the scale of the features is taken from
WIDEST = 256  # features of a frame; more are projected on as many principal components
CONTEXT = 5  # frames before and after that the regression sees
FOLDS = 3
PENALTIES = 10.0 ** np.arange(-4, 4)  # relative to the mean variance of a feature
SEGMENT, FADE = 20, 4  # frames that are copied together, and over which copies blend


@dataclass(frozen=True)
class Features:
    """Speech features of one frame at unit variance, at most 256 of them."""

    mean: np.ndarray
    basis: np.ndarray  # (L C, F)

    @classmethod
    def of(cls, frames: np.ndarray) -> "Features":
        """Fitted to (n, L C)."""
        mean, deviation = frames.mean(0), frames.std(0)
        scale = np.where(deviation > 1e-6, deviation, np.inf)  # a constant feature says nothing
        if frames.shape[1] <= WIDEST:
            return cls(mean, np.diag(1 / scale).astype(np.float32))
        _, singular, directions = np.linalg.svd((frames - mean) / scale, full_matrices=False)
        spread = np.maximum(singular[:WIDEST] / np.sqrt(len(frames)), 1e-6)
        return cls(mean, (directions[:WIDEST] / spread[:, None] / scale).T.astype(np.float32))

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """(T, L, C) to (T, F) float32."""
        return (audio.reshape(len(audio), -1).astype(np.float32) - self.mean) @ self.basis


@dataclass(frozen=True)
class TrainingClips:
    """Clips of the train split: features (T, F), normalised motion (T, D) and what is said of the emotion of each."""

    features: Features
    statistics: MotionStatistics
    audio: list[np.ndarray]
    motion: list[np.ndarray]
    emotions: list[Emotion]

    @classmethod
    def load(cls, root: Path, manifest: DatasetManifest, seed: int = 0) -> "TrainingClips":
        """Clips drawn by ``seed`` until they are 100,000 frames. Unreadable ones are left out."""
        shards = FeatureShards(root, "train", manifest, on_corrupt=lambda error: None)
        places = [(shard, position) for shard, size in enumerate(shards.sizes) for position in range(size)]
        clips: list[Clip] = []
        frames = 0
        for number in np.random.default_rng(seed).permutation(len(places)):
            shard, position = places[number]
            for _, clip in shards.read(shard, [position]):
                clips.append(clip)
                frames += clip.num_frames
            if frames >= MOST_FRAMES:
                break
        if not clips:
            raise UserError(f"{root} has no readable clip in split 'train', which the baselines learn from")
        every = max(1, frames // SAMPLE_FRAMES)
        rows = [clip.audio[::every].reshape(-1, clip.audio[0].size).astype(np.float32) for clip in clips]
        features, statistics = Features.of(np.concatenate(rows)), manifest.statistics
        return cls(
            features,
            statistics,
            [features(clip.audio) for clip in clips],
            [statistics.normalize(clip.motion) for clip in clips],
            [emotion_of(clip.record.emotion, clip.record.emotion_intensity) for clip in clips],
        )


class RidgeRegression:
    """Motion of a frame as a linear function of the features within five frames of it.

    The penalty is the one of eight that predicts clips best that a third of the fitting did not see.
    """

    def __init__(self, training: TrainingClips):
        self.features, self.statistics = training.features, training.statistics
        folds = [_Products.of(training, fold) for fold in range(min(FOLDS, len(training.audio)))]
        whole = folds[0]
        for fold in folds[1:]:
            whole = whole.plus(fold)
        penalties = PENALTIES * np.diag(whole.inner).mean()
        errors = np.zeros(len(penalties))
        for fold in folds if len(folds) > 1 else ():
            rest = whole.plus(fold, sign=-1)
            errors += [fold.error(weights) for weights in rest.solutions(penalties)]
        self.penalty = float(penalties[int(errors.argmin())] / np.diag(whole.inner).mean())
        (self.weights,) = whole.solutions([penalties[int(errors.argmin())]])

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """(T, L, C) speech features to (T, D) motion in the layout's units."""
        normalized = (_with_context(self.features(audio)) @ self.weights).astype(np.float32)
        return self.statistics.denormalize(normalized)


@dataclass(frozen=True)
class _Products:
    """Sums over frames: X'X, X'Y and Y'Y's trace, all that a ridge regression and its error depend on."""

    inner: np.ndarray
    cross: np.ndarray
    power: float

    @classmethod
    def of(cls, training: TrainingClips, fold: int) -> "_Products":
        """Of every third clip."""
        total: _Products | None = None
        for audio, motion in zip(training.audio[fold::FOLDS], training.motion[fold::FOLDS], strict=True):
            x, y = _with_context(audio).astype(np.float64), motion.astype(np.float64)
            one = cls(x.T @ x, x.T @ y, float((y**2).sum()))
            total = one if total is None else total.plus(one)
        assert total is not None
        return total

    def plus(self, other: "_Products", sign: int = 1) -> "_Products":
        return _Products(
            self.inner + sign * other.inner, self.cross + sign * other.cross, self.power + sign * other.power
        )

    def solutions(self, penalties: Sequence[float] | np.ndarray) -> list[np.ndarray]:
        values, vectors = np.linalg.eigh(self.inner)
        turned = vectors.T @ self.cross
        return [vectors @ (turned / (np.maximum(values, 0) + penalty)[:, None]) for penalty in penalties]

    def error(self, weights: np.ndarray) -> float:
        return float(self.power - 2 * (weights * self.cross).sum() + (weights * (self.inner @ weights)).sum())


def _with_context(features: np.ndarray) -> np.ndarray:
    """(T, F) to (T, 11 F + 1): the frames around each, the first and last repeated beyond the ends, and a constant."""
    rows = np.arange(len(features))[:, None] + np.arange(-CONTEXT, CONTEXT + 1)
    around = features[rows.clip(0, len(features) - 1)].reshape(len(features), -1)
    return np.concatenate([around, np.ones((len(features), 1), features.dtype)], 1)


class NearestNeighbour:
    """Motion copied from where the training set sounds most alike, 0.8 s at a time, blended where copies meet."""

    def __init__(self, training: TrainingClips):
        self.features, self.statistics = training.features, training.statistics
        long = [k for k, audio in enumerate(training.audio) if len(audio) >= SEGMENT]
        if not long:
            raise UserError(f"no training clip has {SEGMENT} frames, which the nearest neighbour copies together")
        self.audio = np.concatenate([training.audio[k] for k in long])
        self.motion = np.concatenate([training.motion[k] for k in long])
        self.power = (self.audio**2).sum(1)
        ends = np.cumsum([len(training.audio[k]) for k in long])
        starts = np.arange(len(self.audio) - SEGMENT + 1)
        self.inside = starts + SEGMENT <= ends[np.searchsorted(ends, starts, side="right")]

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """(T, L, C) speech features to (T, D) motion in the layout's units."""
        features, step = self.features(audio), SEGMENT - FADE
        frames = len(features)
        rows = np.arange(-(-max(frames - FADE, 1) // step) * step + FADE).clip(max=frames - 1)
        features = features[rows]
        ramp = np.minimum(1, (np.arange(SEGMENT) + 1) / (FADE + 1))
        weight = np.minimum(ramp, ramp[::-1])[:, None]
        total, weights = np.zeros((len(features), self.motion.shape[1])), np.zeros((len(features), 1))
        for start in range(0, len(features) - FADE, step):
            place = self._nearest(features[start : start + SEGMENT])
            total[start : start + SEGMENT] += weight * self.motion[place : place + SEGMENT]
            weights[start : start + SEGMENT] += weight
        return self.statistics.denormalize((total / weights)[:frames].astype(np.float32))

    def _nearest(self, segment: np.ndarray) -> int:
        """Start of the training frames whose features are nearest to those of ``segment`` (20, F)."""
        distances = self.power - 2 * (segment @ self.audio.T)  # (20, N), but for what all have in common
        count = len(self.inside)
        total = sum(distances[k, k : k + count] for k in range(SEGMENT))
        return int(np.where(self.inside, total, np.inf).argmin())
