import numpy as np
import pytest

from moda.motion.rotation import euler_angles, rotation_matrix


@pytest.mark.parametrize(
    ("angles", "point", "expected"),
    [((90, 0, 0), (0, 0, 1), (0, -1, 0)), ((0, 90, 0), (0, 0, 1), (1, 0, 0)), ((0, 0, 90), (1, 0, 0), (0, 1, 0))],
)
def test_axes_are_those_of_liveportrait(angles, point, expected):
    assert np.allclose(np.array(point, float) @ rotation_matrix(np.array(angles, float)), expected)


def test_matrices_are_rotations_and_angles_come_back():
    angles = np.random.default_rng(0).uniform(-85, 85, (200, 3))
    matrices = rotation_matrix(angles)
    assert np.allclose(matrices @ matrices.swapaxes(-1, -2), np.eye(3))
    assert np.allclose(np.linalg.det(matrices), 1)
    assert np.allclose(euler_angles(matrices), angles)


@pytest.mark.parametrize("yaw", [90.0, -90.0])
def test_at_gimbal_lock_the_rotation_still_comes_back(yaw):
    matrix = rotation_matrix(np.array([20.0, yaw, 10.0]))
    assert np.allclose(rotation_matrix(euler_angles(matrix)), matrix)


def test_dtype_is_kept():
    angles = np.array([10, 20, 30], np.float32)
    assert rotation_matrix(angles).dtype == np.float32
    assert euler_angles(rotation_matrix(angles)).dtype == np.float32
