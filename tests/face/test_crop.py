import numpy as np
import pytest

from moda.face.crop import CropBox, crop, crop_box

FRAME = (1000, 1600)


def inside(boxes: np.ndarray, box: CropBox) -> bool:
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return bool((low >= (box.left, box.top)).all() and (high <= (box.left + box.side, box.top + box.side)).all())


def test_a_still_face_is_centred_with_its_hair_and_the_margin_around_it():
    box = crop_box(np.array([[700, 400, 780, 500]]), FRAME, margin=1.6)
    assert box.side == 185  # 125 pixels of face and hair and 0.6 x 100 of margin
    x, y, _ = box.centre_and_side
    assert x == pytest.approx(740, abs=1) and y == pytest.approx(437.5, abs=1)


def test_motion_enlarges_the_crop_by_what_it_covers():
    boxes = np.array([[700 + 10 * k, 400, 780 + 10 * k, 500] for k in range(21)])
    box = crop_box(boxes, FRAME, margin=1.6)
    assert box.side == 280 + 60 and inside(boxes, box)


@pytest.mark.parametrize("corner", [(0, 0), (1520, 0), (0, 900), (1520, 900)])
def test_at_the_edge_the_crop_moves_into_the_frame(corner: tuple[int, int]):
    boxes = np.array([[corner[0], corner[1], corner[0] + 80, corner[1] + 100]])
    box = crop_box(boxes, FRAME)
    assert box.left >= 0 and box.top >= 0 and box.left + box.side <= 1600 and box.top + box.side <= 1000
    assert inside(boxes, box)


def test_in_a_frame_tight_around_the_face_the_margin_gives_way():
    boxes = np.array([[120, 150, 390, 450]])
    box = crop_box(boxes, (512, 512), margin=1.8)
    assert (box.left, box.top, box.side) == (0, 0, 512)


def test_a_face_that_fills_the_frame_is_not_cut():
    boxes = np.array([[5, 2, 195, 199]])
    box = crop_box(boxes, (200, 200))
    assert box.side > 200 and inside(boxes, box)


def test_a_margin_that_would_cut_the_face_is_refused():
    with pytest.raises(ValueError, match="margin"):
        crop_box(np.array([[0, 0, 10, 10]]), FRAME, margin=0.9)


def test_cropping_takes_the_pixels_of_the_box():
    frame = np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)
    assert np.array_equal(crop(frame, CropBox(10, 5, 20), 20), frame[5:25, 10:30])


def test_outside_the_frame_its_edge_is_repeated():
    frame = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    cut = crop(frame, CropBox(-5, -10, 40), 40)
    assert np.array_equal(cut[10:30, 5:35], frame)
    assert np.array_equal(cut[0, 5:35], frame[0]) and np.array_equal(cut[10:30, 0], frame[:, 0])


@pytest.mark.parametrize("size", [16, 64])
def test_scaling_keeps_a_uniform_colour(size: int):
    frame = np.full((40, 40, 3), (10, 100, 200), np.uint8)
    cut = crop(frame, CropBox(4, 4, 32), size)
    assert cut.shape == (size, size, 3) and np.array_equal(np.unique(cut.reshape(-1, 3), axis=0), [[10, 100, 200]])


def test_a_box_beside_the_frame_is_a_programming_error():
    with pytest.raises(ValueError, match="does not touch"):
        crop(np.zeros((10, 10, 3), np.uint8), CropBox(20, 0, 5), 5)
