"""Ambient occlusion: how much of its surroundings each vertex of a mesh sees."""

import numpy as np

from moda.codec.head.raster import evaluate, paint_indices, planes

_SIZE = 320  # pixels of one shadow view
_BIAS = 0.012  # head units a vertex is lifted off its own surface


def bake_occlusion(vertices: np.ndarray, quads: np.ndarray, directions: int = 64) -> np.ndarray:
    """(V,) visible share in [0, 1], cosine-weighted over the half space towards the viewer and above.

    vertices (V, 3) in image axes; quads (Q, 4).
    """
    corners = vertices[quads]
    faces = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals = np.zeros_like(vertices)
    for corner in range(4):
        np.add.at(normals, quads[:, corner], faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    lifted = vertices + _BIAS * normals
    seen, total = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for direction in _sky(directions):
        weight = np.maximum(normals @ direction, 0)
        seen += weight * _visible(vertices, quads, lifted, direction)
        total += weight
    return seen / total


def _sky(count: int) -> np.ndarray:
    """Directions spread evenly (golden spiral) over the sphere, those from below and behind left out."""
    k = np.arange(2 * count) + 0.5
    z = 1 - k / count
    angle = np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z * z)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), -z], 1)
    return directions[(directions[:, 2] < 0.3) & (directions[:, 1] < 0.6)]


def _visible(vertices: np.ndarray, quads: np.ndarray, points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(P,) bool: points with nothing between them and a light far away in ``direction``."""
    helper = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(direction, across)], 1)  # (3, 2)
    low, high = (vertices @ axes).min(0), (vertices @ axes).max(0)
    scale = (_SIZE - 1) / (high - low).max()
    corners = ((vertices @ axes - low) * scale)[quads]
    towards = (vertices @ direction)[quads]  # larger is nearer to the light
    index = paint_indices(corners, np.argsort(towards.mean(1), kind="stable"), _SIZE, _SIZE)
    x, y = np.clip(np.rint((points @ axes - low) * scale), 0, _SIZE - 1).astype(np.int64).T
    top = evaluate(planes(corners, towards[..., None]), index[y, x], x.astype(np.float32), y.astype(np.float32))[0]
    return (index[y, x] == 0) | (top <= points @ direction + _BIAS)
