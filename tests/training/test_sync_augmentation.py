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
    assert (changed == changed[:1]).all() and not np.array_equal(changed, crops)
    assert not np.array_equal(changed, vary_pictures(crops, np.random.default_rng(seed + 1)))


def test_a_louder_recording_is_one_of_the_variations_of_sound() -> None:
    sound = np.random.default_rng(0).normal(0, 1000, 16_000)
    difference = mfcc(2 * sound) - mfcc(sound)
    np.testing.assert_allclose(difference, [[np.log(4)] + [0] * 12] * len(difference), atol=1e-9)
    steps = mfcc(sound)
    change = vary_sound(steps, np.random.default_rng(0)) - steps
    np.testing.assert_allclose(change, change[:1].repeat(len(change), 0), atol=1e-4)  # a constant on each coefficient
    assert (np.abs(change[0]) > 1e-3).all()
