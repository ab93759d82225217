"""Painter's rasterisation of quads on the CPU: which quad covers a pixel, and linear attributes over it.

A triangle is a quad whose last corner is repeated; every formula here stays exact for it.
"""

import cv2
import numpy as np

_SHIFT = 4  # fractional bits of the polygon corners given to OpenCV
_FLAT_AREA = 0.5  # square pixels; smaller quads get one value instead of a gradient,
_FLAT_RATIO = 0.04  # and so do slivers: quads of less than this share of the square over their diagonal


def signed_area(corners: np.ndarray) -> np.ndarray:
    """Area of quads (Q, 4, 2) in square pixels, positive where the corners run clockwise on screen."""
    first, second = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def paint_indices(corners: np.ndarray, order: np.ndarray, height: int, width: int) -> np.ndarray:
    """Index image (height, width) int32: one plus the last quad of ``order`` on a pixel, 0 for none.

    corners: (Q, 4, 2) in pixels, (0, 0) the centre of the first pixel; order: quads far to near.
    """
    image = np.zeros((height, width), np.int32)
    fixed = np.rint(corners[order] * (1 << _SHIFT)).astype(np.int32)
    fill = cv2.fillConvexPoly
    for polygon, value in zip(fixed, (order + 1).tolist(), strict=True):
        fill(image, polygon, value, cv2.LINE_8, _SHIFT)
    return image


def planes(corners: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Affine functions of the pixel position that interpolate corner ``values`` (Q, 4, C).

    Returns (3, C, Q + 1) float32, the coefficients of x, y and 1, column q + 1 for quad q and
    column 0 zero. A planar quad and any triangle are met exactly, other quads in the mean with the
    differences along both diagonals kept.
    """
    first, second = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]  # diagonals (Q, 2)
    determinant = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    longest = np.maximum((first**2).sum(1), (second**2).sum(1))
    flat = np.abs(determinant) < 2 * np.maximum(_FLAT_AREA, _FLAT_RATIO * longest)
    inverse = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, determinant))[:, None]
    along_first, along_second = values[:, 2] - values[:, 0], values[:, 3] - values[:, 1]  # (Q, C)
    by_x = (along_first * second[:, 1:2] - along_second * first[:, 1:2]) * inverse
    by_y = (along_second * first[:, 0:1] - along_first * second[:, 0:1]) * inverse
    centre = corners.mean(1)
    constant = values.mean(1) - by_x * centre[:, 0:1] - by_y * centre[:, 1:2]
    table = np.zeros((3, values.shape[2], len(corners) + 1), np.float32)
    table[0, :, 1:], table[1, :, 1:], table[2, :, 1:] = by_x.T, by_y.T, constant.T
    return table


def evaluate(table: np.ndarray, index: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values (C, N) float32 of ``planes`` at N pixels: index (N,) from ``paint_indices``, x and y (N,)."""
    values = np.empty((table.shape[1], len(index)), np.float32)
    for channel in range(table.shape[1]):
        out = values[channel]
        np.multiply(table[0, channel].take(index), x, out=out)
        out += table[1, channel].take(index) * y
        out += table[2, channel].take(index)
    return values
