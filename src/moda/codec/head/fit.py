"""The head that fits a photograph best: its shape from the landmarks, its colours from the pixels."""

from dataclasses import replace

import numpy as np
from scipy.optimize import lsq_linear

from moda.codec.head.correspondence import BASE_HEAD, load_landmarks
from moda.codec.head.identity import RGB, Head, lip_colour
from moda.codec.head.mesh import load_mesh
from moda.codec.head.pose import unpose
from moda.codec.head.targets import PEOPLE, SHAPE_TARGETS
from moda.face.landmarker import Face, FaceLandmarker
from moda.face.portrait import largest_face

_DEPTH_WEIGHT = 0.4  # landmarks know depth less well than place
_LIP_WEIGHT = 0.6  # the expression of the photograph moves them
_RIDGE = 0.012  # head units of misfit that a weight of 1 is worth
_PEOPLE_SUM = 0.5  # strength with which the whole people in the mixture add up to one
_CHEEKS = (50, 280, 205, 425, 101, 330)
_LIPS = ((0, 13), (17, 14), (37, 82), (267, 312), (84, 87), (314, 317))
_LIGHT = 0.92  # mean light that the renderer casts on cheeks


def fit_head(image: np.ndarray, landmarker: FaceLandmarker, name: str = "image") -> Head:
    """The head of the largest face in a uint8 RGB image; UserError where there is no face."""
    face = largest_face(image, landmarker, name)
    points = face.landmarks.astype(np.float64) * (2 / max(image.shape[:2]))
    head = replace(BASE_HEAD, shape=tuple(fit_shape(unpose(points)).tolist()))
    return _coloured(head, image, face)


def fit_shape(unposed: np.ndarray) -> np.ndarray:
    """Shape weights (K,) in [0, 1] from unposed landmarks (478, 3).

    Least squares over the displacement of the landmarks from their template, linear in the weights,
    in a similarity that makes up for what the pose left, and with a ridge that prefers small weights.
    """
    known, mesh = load_landmarks(), load_mesh()
    shapes = mesh.shapes[:, known.vertices].astype(np.float64)  # (K, 478, 3)
    mean = np.tensordot(known.shape, shapes, 1)
    weights = np.ones((len(known.template), 3)) * np.array([1, 1, _DEPTH_WEIGHT])
    weights[_moving()] *= _LIP_WEIGHT
    weights /= np.sqrt(len(weights))

    columns = [*shapes, *_similarities(known.template)]
    design = np.stack([(column * weights).ravel() for column in columns], 1)
    target = ((unposed - known.template + mean) * weights).ravel()
    count, free = len(shapes), len(columns) - len(shapes)
    ridge = np.diag([_RIDGE / np.sqrt(count)] * count + [1e-6] * free)
    people = np.array([[1.0 if name in PEOPLE else 0.0 for name in SHAPE_TARGETS] + [0.0] * free])
    solution = lsq_linear(
        np.concatenate([design, ridge, _PEOPLE_SUM * people]),
        np.concatenate([target, np.zeros(len(ridge)), [_PEOPLE_SUM]]),
        bounds=([0.0] * count + [-np.inf] * free, [1.0] * count + [np.inf] * free),
    )
    return np.clip(solution.x[:count], 0, 1)


def _similarities(points: np.ndarray) -> list[np.ndarray]:
    """Displacements (478, 3) of small moves, turns and a change of size."""
    axes = np.eye(3)
    moves = [np.broadcast_to(axis, points.shape) for axis in axes]
    turns = [np.cross(axis, points) for axis in axes]
    return [*moves, *turns, points]


def _moving() -> np.ndarray:
    return np.setdiff1d(np.arange(478), load_landmarks().rigid)


def _coloured(head: Head, image: np.ndarray, face: Face) -> Head:
    """``head`` with the colours of skin, lips and hair of the photograph."""
    points = face.landmarks[:, :2]
    height = float(np.linalg.norm(points[10] - points[152]))
    skin = _albedo(np.median([_patch(image, points[i], 0.03 * height) for i in _CHEEKS], 0) / _LIGHT, 45, 238)
    lips = np.median([_patch(image, points[list(pair)].mean(0), 0.012 * height) for pair in _LIPS], 0)
    above = points[10] + 0.16 * (points[10] - points[152])
    hair = _patch(image, above, 0.04 * height)
    natural = np.array(lip_colour(skin))
    return replace(
        head,
        skin=skin,
        lips=_albedo(natural + np.clip(lips / _LIGHT - natural, -40, 40), 20, 235),
        hair=_albedo(hair, 18, 200) if hair.mean() < 0.7 * np.mean(skin) else BASE_HEAD.hair,
    )


def _patch(image: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Median RGB (3,) of the square around a point."""
    height, width = image.shape[:2]
    reach = max(round(radius), 1)
    x = int(np.clip(round(float(centre[0])), 0, width - 1))
    y = int(np.clip(round(float(centre[1])), 0, height - 1))
    area = image[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    return np.median(area.reshape(-1, 3).astype(np.float64), 0)


def _albedo(colour: np.ndarray, low: float, high: float) -> RGB:
    red, green, blue = np.clip(colour, low, high).tolist()
    return red, green, blue
