"""Varied clips: every frame alike, and what the variation of sound stands for."""

import cv2
import numpy as np
import pytest

from moda.eval.mfcc import mfcc
from moda.training.sync_augmentation import vary_pictures, vary_sound


def still(frames: int = 12) -> np.ndarray:
    """A soft picture, held: (frames, 224, 224, 3)."""
    picture = cv2.resize(np.random.default_rng(0).integers(60, 200, (6, 6, 3), np.uint8), (224, 224))
    return np.repeat(picture[None], frames, 0)


@pytest.mark.parametrize("seed", range(6))
def test_pictures_are_varied_the_same_but_for_hand_and_grain(seed: int) -> None:
    changed = vary_pictures(still(), np.random.default_rng(seed))
    assert changed.shape == still().shape and changed.dtype == np.uint8
    apart = np.abs(changed.astype(int) - changed[:1]).mean()
    assert apart < 12 and np.abs(changed.astype(int) - still()).mean() > max(5, apart)
    assert np.array_equal(changed, vary_pictures(still(), np.random.default_rng(seed)))
    assert not np.array_equal(changed, vary_pictures(still(), np.random.default_rng(seed + 1)))


def test_the_mouth_is_never_hidden() -> None:
    """Whatever covers the brows stays above the middle, where the sync crop has the mouth."""
    crops = still(1)
    crops[:, 112:] = 0
    for seed in range(30):
        below = vary_pictures(crops, np.random.default_rng(seed))[0, 140:200, 60:160].astype(float)
        assert below.std() < 25, seed  # as even as it was, but for light and grain


def test_a_louder_recording_is_one_of_the_variations_of_sound() -> None:
    sound = np.random.default_rng(0).normal(0, 1000, 16_000)
    difference = mfcc(2 * sound) - mfcc(sound)
    np.testing.assert_allclose(difference, [[np.log(4)] + [0] * 12] * len(difference), atol=1e-9)


def test_a_longer_vocal_tract_moves_a_tone_between_bands() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (mfcc(8000 * np.sin(2 * np.pi * hertz * time)) for hertz in (1000, 1100))
    warped = mfcc(8000 * np.sin(2 * np.pi * 1100 * time), warp=1.1)
    assert np.abs(warped - low)[5:-5, 1:].mean() < 0.5 * np.abs(high - low)[5:-5, 1:].mean()


def test_sound_is_varied_in_voice_noise_and_microphone() -> None:
    sound = np.random.default_rng(0).normal(0, 1000, 16_000).astype(np.int16)
    first, again, other = (vary_sound(sound, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == mfcc(sound).shape and first.dtype == np.float32 and np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.1 and np.isfinite(first).all()
