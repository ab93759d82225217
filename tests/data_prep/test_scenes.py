import numpy as np
import pytest

from moda.data_prep.scenes import SceneCuts, is_cut


def scene(seed: int, size=(96, 128)) -> np.ndarray:
    """A smooth random picture."""
    rng = np.random.default_rng(seed)
    rough = np.cumsum(np.cumsum(rng.normal(size=size), 0), 1)
    return np.repeat(np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)[..., None], 3, 2)


def cuts_of(frames) -> list[int]:
    cuts = SceneCuts()
    return [number for number, frame in enumerate(frames) if cuts.add(frame)]


def test_a_cut_is_found_at_its_very_frame_and_once():
    assert cuts_of([scene(0)] * 13 + [scene(1)] * 12 + [scene(0)] * 3) == [13, 25]


def test_a_dissolve_is_a_cut_and_noise_is_none():
    mix = [(scene(0) * (1 - k / 4) + scene(1) * (k / 4)).astype(np.uint8) for k in range(1, 4)]
    assert len(cuts_of([scene(0)] * 10 + mix + [scene(1)] * 10)) == 1
    rng = np.random.default_rng(0)
    noisy = [np.clip(scene(0) + rng.normal(0, 8, scene(0).shape), 0, 255).astype(np.uint8) for _ in range(20)]
    assert cuts_of(noisy) == []


def test_a_cut_is_a_new_scene_and_not_a_pan_or_a_change_of_light():
    picture = np.cumsum(np.random.default_rng(0).normal(size=(32, 34)), 1)
    other = np.cumsum(np.random.default_rng(1).normal(size=(32, 32)), 0)
    assert not is_cut(picture[:, :32], picture[:, 2:])
    assert not is_cut(picture[:, :32], 0.3 * picture[:, :32] + 50)
    assert is_cut(picture[:, :32], other)
    assert not is_cut(np.zeros((32, 32)), other)  # a fade from black


@pytest.mark.parametrize("size", [(64, 64), (720, 1280), (1920, 1080)])
def test_any_size_of_frame_will_do(size: tuple[int, int]):
    assert cuts_of([scene(0, size)] * 2 + [scene(1, size)] * 2) == [2]
