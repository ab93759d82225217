"""How MediaPipe's 478 face landmarks lie on the head mesh.

``landmarks.json`` beside this file was measured by ``write_landmarks``: the landmarker is run on
frontal renders of the base head and of random heads at rest. Each landmark gets the visible vertex
that is nearest to it over all of them, and its mean place (the landmarker's own idea of depth
included), with which the pose of any face is measured. Run it again after a change of the mesh or
the renderer: ``python -c "from moda.codec.head.correspondence import *; write_landmarks()"``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from moda.codec.head.identity import Head, random_head
from moda.codec.head.mesh import load_mesh
from moda.codec.head.targets import SHAPE_TARGETS
from moda.errors import UserError
from moda.face.landmarker import Face
from moda.files import read_json, write_json
from moda.motion.layout import ARKIT_BLENDSHAPES

_FILE = Path(__file__).with_name("landmarks.json")
_RANDOM_HEADS = range(1000, 1024)  # measured beside the base head
# The landmarker's depth is counted from within the face; this shift (head units) makes the centre
# of the head the point that stays where it is while the head turns.
_DEPTH = -0.62
BASE_HEAD = Head(shape=(0.0,) * len(SHAPE_TARGETS))


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What is known of the 478 landmarks.

    vertices: (478,) int64, the mesh vertex under each; template: (478, 3) where the landmarker sees
    them, in head units and image axes, on the mean of the measured heads at rest; shape: (K,) mean
    shape weights of those heads; rigid: (R,) int64, the landmarks that speech does not move.
    """

    vertices: np.ndarray
    template: np.ndarray
    shape: np.ndarray
    rigid: np.ndarray


@lru_cache(maxsize=1)
def load_landmarks() -> Landmarks:
    """The stored correspondence; raises UserError if it was measured on another mesh."""
    stored = read_json(_FILE)
    mesh = load_mesh()
    if stored["mesh_vertices"] != len(mesh.vertices):
        raise UserError(f"{_FILE.name} belongs to another head mesh; run moda.codec.head.correspondence again")
    vertices = np.array(stored["vertices"], np.int64)
    moving = [i for i, name in enumerate(ARKIT_BLENDSHAPES) if name.startswith(("jaw", "mouth", "eye", "cheek"))]
    reach = np.linalg.norm(mesh.expressions[moving][:, vertices], axis=-1).max(0)
    return Landmarks(
        vertices,
        np.array(stored["template"]),
        np.array(stored["shape"]),
        np.flatnonzero(reach < 0.02),
    )


def image_points(face: Face, size: int) -> np.ndarray:
    """Landmarks of a face in a square image: (478, 3) float64 in half image widths, (0, 0) its middle."""
    return face.landmarks.astype(np.float64) * (2 / size) - np.array([1.0, 1.0, 0.0])


def measure_landmarks(heads: Sequence[Head], size: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (478,), template (478, 3) and mean shape (K,) from renders of ``heads``, see ``Landmarks``."""
    from moda.codec.head.renderer import HeadRenderer, project, rest_motion
    from moda.face.landmarker import FaceLandmarker

    renderer, motion = HeadRenderer(size), rest_motion()
    squared, places = 0.0, []
    landmarker = FaceLandmarker(max_faces=1)
    for head in heads:
        landmarks = image_points(landmarker.detect(renderer.render(head, motion))[0], size)
        vertices = renderer.pose(head.vertices(renderer.mesh), motion)
        points = project(vertices, motion)
        hidden = (renderer.mesh.normals(vertices)[:, 2] > 0) | (renderer.mesh.occlusion < 0.02)
        distance = ((landmarks[:, None, :2] - points[None]) ** 2).sum(-1)
        squared = squared + np.where(hidden, 4.0, distance)
        places.append(landmarks + np.array([0, 0, _DEPTH]))
    shape = np.mean([head.shape for head in heads], 0)
    return np.argmin(squared, axis=1), np.mean(places, 0), shape


def write_landmarks() -> None:
    """Measure the landmarks and store them beside the code."""
    vertices, template, shape = measure_landmarks([BASE_HEAD, *map(random_head, _RANDOM_HEADS)])
    write_json(
        _FILE,
        {
            "mesh_vertices": len(load_mesh().vertices),
            "vertices": vertices.tolist(),
            "template": np.round(template, 4).tolist(),
            "shape": np.round(shape, 4).tolist(),
        },
    )
