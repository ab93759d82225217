"""The crop from kept surroundings is the crop from the whole frame."""

import numpy as np
import pytest

from moda.data_prep import held as module
from moda.data_prep.held import HeldFrames
from moda.face.crop import CropBox, crop, crop_box


def frames(count: int, size=(400, 600)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for _ in range(count)]


def moving(number: int, size: float = 60.0) -> tuple[float, float, float, float]:
    return (250 + 2 * number, 150, 250 + 2 * number + size, 150 + size)


@pytest.mark.parametrize("x", [-30, 250, 560])
def test_a_small_face_s_crop_is_the_very_same(x: int):
    pictures = frames(8)
    boxes = [(x + 2 * k, 150.0, x + 2 * k + 60.0, 210.0) for k in range(8)]
    held = HeldFrames(size=512, margin=1.6)
    for number, picture in enumerate(pictures):
        held.add(number, picture, boxes[number])
    box = crop_box(np.array(boxes), (400, 600))
    kept = held.crops(range(2, 7), box, box.side)
    assert kept is not None and held.scale == 1
    for number, cut in zip(range(2, 7), kept, strict=True):
        np.testing.assert_array_equal(cut, crop(pictures[number], box, box.side))


def test_only_surroundings_are_kept_and_let_go():
    held = HeldFrames(size=128, margin=1.6)
    for number, picture in enumerate(frames(20, (800, 1200))):
        held.add(number, picture, (500, 300, 600, 400))
    assert held._bytes < 20 * 800 * 1200 * 3 / 8
    held.drop(15)
    assert held.crops(range(14, 18), CropBox(450, 250, 190), 128) is None
    assert len(list(held.crops(range(15, 20), CropBox(450, 250, 190), 128))) == 5
    held.clear()
    assert held._bytes == 0


def test_a_large_face_is_kept_no_finer_than_needed_and_every_frame_alike():
    smooth = np.clip(np.add.outer(np.arange(900), np.arange(1200))[..., None] / 9 + [0, 5, 9], 0, 255).astype(np.uint8)
    held = HeldFrames(size=128, margin=1.6)
    for number in range(6):
        held.add(number, smooth, (400 + 5 * number, 300, 800 + 5 * number, 700))
    box = crop_box(np.array([(400 + 5 * k, 300, 800 + 5 * k, 700) for k in range(6)], float), smooth.shape[:2])
    cuts = list(held.crops(range(6), box, 128))
    assert held.scale < 0.3
    assert all(np.array_equal(cut, cuts[0]) for cut in cuts)  # the frames are the same, so nothing may tremble
    assert np.abs(cuts[0].astype(int) - crop(smooth, box, 128)).max() <= 2


def test_what_was_not_kept_is_not_given():
    held = HeldFrames(size=512, margin=1.6)
    for number, picture in enumerate(frames(10, (400, 1200))):
        held.add(number, picture, moving(number))
    assert held.crops(range(10), CropBox(600, 100, 200), 200) is None


def test_memory_has_a_limit(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 10**6)
    held = HeldFrames(size=512, margin=1.6)
    for number, picture in enumerate(frames(10)):
        held.add(number, picture, (0, 0, 300, 300))
    assert held._bytes < 2 * 10**6 and held.crops(range(10), CropBox(0, 0, 300), 300) is None
