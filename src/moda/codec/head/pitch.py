"""The pitch that the landmarker reads into a face that looks straight ahead, told from the face's shape.

A short nose or a steep forehead looks to it like a head that nods: over random heads the pitch that it reads is off
by four degrees, the same in every frame of a face. ``pitch.json`` beside this file holds the line that tells most of
it from the unposed landmarks, fitted by ``write_pitch`` to renders of known pose. Run it again after a change of the
mesh, the renderer, the landmarks or ``pose.PITCH_GAIN``: ``python -c "from moda.codec.head.pitch import *; write_pitch()"``.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from moda.codec.head.correspondence import image_points, load_landmarks
from moda.codec.head.identity import random_head
from moda.codec.head.pose import measure_pose, unpose
from moda.files import read_json, write_json
from moda.motion.layout import get_layout
from moda.progress import progress

PITCH_FILE = Path(__file__).with_name("pitch.json")
_HEADS = range(20_000, 21_500)  # none that is rendered elsewhere
_POSES = 2  # of each: straight ahead, and turned with the mouth open
_RIDGE = 10.0  # in units of the landmarks' variance; less fits heads a little better, and real faces waver more
_MOST = 10.0  # degrees; heads go to 9, and what is far from all of them is not known


def pitch_offset(unposed: np.ndarray) -> float:
    """Degrees, at most 10 either way, that are read too much, from the unposed landmarks (478, 3) of a face.

    They are best the mean over a clip: a face keeps its shape, of which each pose shows another part. What is
    left on heads that the fit has not seen: docs/codecs.md.
    """
    mean, weights, constant = _line()
    return float(np.clip((_shape(unposed) - mean) @ weights + constant, -_MOST, _MOST))


@lru_cache(maxsize=1)
def _line() -> tuple[np.ndarray, np.ndarray, float]:
    stored = read_json(PITCH_FILE)
    return np.array(stored["mean"]), np.array(stored["weights"]), float(stored["constant"])


def _shape(unposed: np.ndarray) -> np.ndarray:
    """(..., 478, 3) to (..., 3 R): the landmarks that speech does not move, centred."""
    points = unposed[..., load_landmarks().rigid, :]
    return (points - points.mean(-2, keepdims=True)).reshape(*unposed.shape[:-2], -1)


def measured(heads: Iterable[int]) -> Iterator[tuple[np.ndarray, float]]:
    """Unposed landmarks (478, 3) and degrees of pitch too much of random heads, in ``_POSES`` poses each."""
    from moda.codec.head.renderer import HeadRenderer, rest_motion
    from moda.face.landmarker import FaceLandmarker

    renderer, landmarker, layout = HeadRenderer(256, 1), FaceLandmarker(max_faces=1), get_layout("head59")
    for number in heads:
        rng = np.random.default_rng([number, 7])
        for pose in range(_POSES):
            motion = rest_motion()
            if pose:
                motion[layout.groups["rotation"]] = rng.uniform(-1, 1, 3) * (12, 15, 8)
                motion[layout.index("jawOpen")] = rng.uniform(0, 0.6)
            for face in landmarker.detect(renderer.render(random_head(number), motion)):
                points = image_points(face, renderer.size)
                yield unpose(points), float(measure_pose(points).angles[0] - motion[layout.index("pitch")])


def fit_line(shapes: np.ndarray, errors: np.ndarray) -> dict[str, list[float] | float]:
    """Ridge regression of ``errors`` (n,) on ``shapes`` (n, 478, 3), as ``pitch.json`` holds it."""
    inputs = _shape(shapes)
    mean = inputs.mean(0)
    centred = inputs - mean
    ridge = _RIDGE * centred.var() * np.eye(len(mean))
    weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (errors - errors.mean()))
    return {"mean": mean.round(5).tolist(), "weights": weights.round(2).tolist(), "constant": float(errors.mean())}


def write_pitch() -> None:
    """Fit the line and store it beside the code; some minutes."""
    with progress("rendering heads", _POSES * len(_HEADS), "pictures") as advance:
        found = []
        for face in measured(_HEADS):
            found.append(face)
            advance(1)
    shapes, errors = zip(*found, strict=True)
    write_json(PITCH_FILE, fit_line(np.stack(shapes), np.array(errors)))
