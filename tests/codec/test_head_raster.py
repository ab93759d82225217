import numpy as np

from moda.codec.head.occlusion import bake_occlusion
from moda.codec.head.raster import evaluate, paint_indices, planes, signed_area

SQUARE = np.array([[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]])
TRIANGLE = np.array([[1.0, 1.0], [13.0, 3.0], [5.0, 14.0], [5.0, 14.0]])


def test_area_is_signed_by_the_order_of_corners():
    assert np.allclose(signed_area(np.stack([SQUARE, SQUARE[::-1]])), [100, -100])


def test_the_last_painted_quad_wins():
    corners = np.stack([SQUARE, SQUARE + 4])
    assert paint_indices(corners, np.array([0, 1]), 20, 20)[8, 8] == 2
    image = paint_indices(corners, np.array([1, 0]), 20, 20)
    assert image[8, 8] == 1 and image[14, 14] == 2 and image[0, 0] == 0


def test_an_affine_function_is_interpolated_exactly_over_quads_and_triangles():
    corners = np.stack([SQUARE, TRIANGLE])
    values = np.stack([3 * corners[..., 0] - corners[..., 1] + 5, corners[..., 1]], -1)
    table = planes(corners, values)
    x, y = np.array([4.0, 9.0, 6.0], np.float32), np.array([5.0, 3.0, 8.0], np.float32)
    for quad in (1, 2):
        index = np.full(3, quad, np.int32)
        assert np.allclose(evaluate(table, index, x, y), [3 * x - y + 5, y], atol=1e-4)


def test_a_sliver_gets_one_value():
    sliver = np.array([[[0.0, 0.0], [20.0, 0.0], [20.0, 0.01], [0.0, 0.01]]])
    table = planes(sliver, np.array([[[0.0], [1.0], [5.0], [2.0]]]))
    far = np.array([500], np.float32)
    assert np.allclose(evaluate(table, np.array([1]), far, far), 2.0)


def test_what_lies_under_a_roof_sees_less():
    def tile(x, y, half, z):
        return [[x - half, y - half, z], [x - half, y + half, z], [x + half, y + half, z], [x + half, y - half, z]]

    # Two floors that face the viewer (-z); a roof hangs before the first.
    vertices = np.array([*tile(-3, 0, 0.3, 0.0), *tile(3, 0, 0.3, 0.0), *tile(-3, 0, 2.0, -0.5)], float)
    occlusion = bake_occlusion(vertices, np.arange(12).reshape(3, 4))
    assert occlusion[:4].max() < 0.4 < 0.9 < occlusion[4:8].min()
