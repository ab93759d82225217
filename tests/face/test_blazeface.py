import cv2
import numpy as np
import pytest

from moda.face.blazeface import Region, anchors, decode, merge


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Points (8, 2): corners, and six key points in the middle."""
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    return np.array([(x0, y0), (x1, y1), *[middle] * 6])


def test_anchors_are_centres_of_cells():
    found = anchors()
    assert found.shape == (896, 2)
    assert np.allclose(found[:3], [(1 / 32, 1 / 32), (1 / 32, 1 / 32), (3 / 32, 1 / 32)])
    assert np.allclose(found[-1], (15 / 16, 15 / 16)) and (found[512:518] == found[512]).all()


def test_boxes_and_key_points_are_relative_to_their_anchor():
    row = np.zeros((1, 16), np.float32)
    row[0, :4] = (12.8, -12.8, 25.6, 51.2)  # centre, size, in pixels of 128
    row[0, 4:6] = (6.4, 0)
    points = decode(row, np.array([(0.5, 0.5)]))[0]
    assert np.allclose(points[:3], [(0.5, 0.2), (0.7, 0.6), (0.55, 0.5)])


def test_boxes_of_one_face_become_their_weighted_mean():
    found = np.stack([box(0.1, 0.1, 0.3, 0.3), box(0.11, 0.1, 0.31, 0.3), box(0.6, 0.6, 0.8, 0.8)])
    merged = merge(found, np.array([0.9, 0.3, 0.95]))
    assert np.allclose(merged[0], found[2])  # the surest first
    assert np.allclose(merged[1], 0.75 * found[0] + 0.25 * found[1])


def test_an_empty_box_is_no_endless_loop():
    assert merge(np.stack([box(0.5, 0.5, 0.5, 0.5)] * 2), np.array([0.9, 0.8])).shape == (2, 8, 2)


def test_a_region_turns_with_the_eyes():
    region = Region.around(np.array([10.0, 20]), np.array([30.0, 60]), np.array([15.0, 30]), np.array([15.0, 50]))
    assert (region.x, region.y, region.side) == (20, 40, 60) and region.angle == pytest.approx(np.pi / 2)
    matrix = region.matrix(100)
    assert np.allclose(matrix @ (50, 50, 1), (20, 40))
    assert np.allclose(matrix @ (100, 50, 1), (20, 70))  # right of the face is down in the image


def test_a_region_is_cut_upright():
    image = np.zeros((100, 100, 3), np.uint8)
    image[50:, :] = 255  # the lower half
    cut = Region(50, 50, 60, np.pi / 2).cut(image, 60, cv2.BORDER_REPLICATE)
    assert cut[30, 50].min() == 255 and cut[30, 10].max() == 0
