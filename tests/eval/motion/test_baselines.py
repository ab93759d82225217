from dataclasses import replace

import numpy as np
import pytest

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.eval.motion import baselines
from moda.eval.motion.baselines import Features, NearestNeighbour, RidgeRegression, TrainingClips

RNG = np.random.default_rng(0)


@pytest.fixture
def training(tiny_dataset) -> TrainingClips:
    return TrainingClips.load(tiny_dataset, DatasetManifest.load(tiny_dataset))


def audio_of(training: TrainingClips, clip: int) -> np.ndarray:
    """Speech features (T, 1, C) of a training clip, undone from the normalised ones."""
    basis = training.features.basis
    return (training.audio[clip] @ np.linalg.inv(basis) + training.features.mean)[:, None]


def test_features_have_unit_variance_and_constants_say_nothing():
    frames = RNG.normal(3, 5, (500, 6))
    frames[:, 2] = 7
    features = Features.of(frames)
    made = features(frames.reshape(500, 2, 3))
    np.testing.assert_allclose(made.std(0), [1, 1, 0, 1, 1, 1], atol=1e-3)
    assert np.abs(made.mean(0)).max() < 1e-3


def test_wide_features_become_principal_components(monkeypatch):
    monkeypatch.setattr(baselines, "WIDEST", 3)
    hidden = RNG.normal(0, 1, (400, 3))
    frames = hidden @ RNG.normal(0, 1, (3, 20))
    made = Features.of(frames)(frames[:, None])
    assert made.shape == (400, 3)
    np.testing.assert_allclose(made.T @ made / 400, np.eye(3), atol=1e-3)
    solution = np.linalg.lstsq(made, hidden - hidden.mean(0), rcond=None)[0]
    np.testing.assert_allclose(made @ solution, hidden - hidden.mean(0), atol=1e-3)  # nothing is lost


def test_a_linear_law_is_found_by_regression(training):
    model, clip = RidgeRegression(training), 1
    truth = training.statistics.denormalize(training.motion[clip])
    made = model(audio_of(training, clip))
    assert made.shape == truth.shape and made.dtype == np.float32
    assert np.corrcoef(made[:, 24], truth[:, 24])[0, 1] > 0.99


def test_where_there_is_nothing_to_learn_regression_shrinks_to_the_mean(training):
    noise = [RNG.normal(0, 1, motion.shape).astype(np.float32) for motion in training.motion]
    model = RidgeRegression(replace(training, motion=noise))
    assert model.penalty == pytest.approx(baselines.PENALTIES[-1])
    free = RidgeRegression(training)
    assert free.penalty < model.penalty


def test_the_neighbour_of_a_training_clip_is_itself(training):
    model = NearestNeighbour(training)
    for clip in (0, 3):
        truth = training.statistics.denormalize(training.motion[clip])
        made = model(audio_of(training, clip))
        assert made.shape == truth.shape
        whole = len(truth) - baselines.SEGMENT  # at the end the last frame is repeated
        np.testing.assert_allclose(made[:whole], truth[:whole], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 4, 19, 20, 21, 36, 37])
def test_any_length_is_covered(training, frames):
    made = NearestNeighbour(training)(audio_of(training, 0)[:frames])
    assert made.shape == (frames, 59) and np.isfinite(made).all()


def test_copies_do_not_cross_the_end_of_a_clip(training):
    model = NearestNeighbour(training)
    ends = np.cumsum([len(audio) for audio in training.audio])
    starts = np.flatnonzero(model.inside)
    assert len(starts) == sum(len(audio) - baselines.SEGMENT + 1 for audio in training.audio)
    assert not any(start < end < start + baselines.SEGMENT for start in starts for end in ends)


def test_training_clips_are_drawn_up_to_a_limit(tiny_dataset, monkeypatch):
    manifest = DatasetManifest.load(tiny_dataset)
    monkeypatch.setattr(baselines, "MOST_FRAMES", 100)
    assert len(TrainingClips.load(tiny_dataset, manifest).audio) == 2
    with pytest.raises(UserError, match="no 'train' split"):
        TrainingClips.load(tiny_dataset, DatasetManifest(**{**vars(manifest), "shards": manifest.shards_of("test")}))
