"""Varied clips: every frame alike, and what the variation of sound stands for."""

import numpy as np
import pytest

from moda.eval.mfcc import mfcc
from moda.training.sync_augmentation import vary_pictures, vary_sound


@pytest.mark.parametrize("seed", range(4))
def test_pictures_are_varied_the_same_in_all_frames(seed: int) -> None:
    crops = np.repeat(np.random.default_rng(0).integers(0, 200, (1, 224, 224, 3), np.uint8), 6, 0)
    changed = vary_pictures(crops, np.random.default_rng(seed))
    assert changed.shape == crops.shape and changed.dtype == np.uint8
    apart = np.abs(changed.astype(int) - changed[:1])
    assert apart.mean() < 15 and not np.array_equal(changed, crops)  # but for the camera's noise
    assert not np.array_equal(changed, vary_pictures(crops, np.random.default_rng(seed + 1)))


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
