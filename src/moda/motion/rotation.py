"""Head rotation: Euler angles in degrees to matrices and back.

Axes are those of the image seen by the viewer: +x right, +y down, +z into the image. Points are
rows and are multiplied from the left, ``x @ R`` with R = (Rz Ry Rx)^T: LivePortrait's convention.
Seen by the viewer, positive pitch looks down, positive yaw turns the face to the left of the image
and positive roll turns the head clockwise.
"""

import numpy as np


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Pitch, yaw and roll in degrees (..., 3) to rotation matrices (..., 3, 3) for row vectors."""
    angles = np.asarray(angles)
    pitch, yaw, roll = np.moveaxis(np.deg2rad(angles.astype(np.float64)), -1, 0)
    cp, sp, cy, sy, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    # Rz Ry Rx, written out and transposed.
    rows = [
        [cy * cr, cy * sr, -sy],
        [sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy],
        [cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy],
    ]
    matrix = np.stack([np.stack(row, -1) for row in rows], -2)
    return matrix.astype(angles.dtype) if np.issubdtype(angles.dtype, np.floating) else matrix


def euler_angles(matrix: np.ndarray) -> np.ndarray:
    """Inverse of ``rotation_matrix``: (..., 3, 3) to (..., 3) degrees, yaw in [-90, 90].

    At yaw = +-90 degrees pitch and roll turn about the same axis; roll is then taken as 0.
    """
    matrix = np.asarray(matrix)
    r = matrix.astype(np.float64)
    yaw = np.arcsin(np.clip(-r[..., 0, 2], -1.0, 1.0))
    locked = np.abs(r[..., 0, 2]) > 1 - 1e-9
    pitch = np.where(locked, np.arctan2(-r[..., 2, 1], r[..., 1, 1]), np.arctan2(r[..., 1, 2], r[..., 2, 2]))
    roll = np.where(locked, 0.0, np.arctan2(r[..., 0, 1], r[..., 0, 0]))
    angles = np.rad2deg(np.stack([pitch, yaw, roll], -1))
    return angles.astype(matrix.dtype) if np.issubdtype(matrix.dtype, np.floating) else angles
