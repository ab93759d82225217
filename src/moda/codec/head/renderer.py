"""Renders a head at a motion: a software renderer in NumPy and OpenCV, deterministic on every machine."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from moda.codec.head.identity import Head
from moda.codec.head.mesh import LEFT_EYE, LOWER_TEETH, MOUTH, RIGHT_EYE, TONGUE, UPPER_TEETH, HeadMesh, load_mesh
from moda.codec.head.raster import evaluate, paint_indices, planes, signed_area
from moda.codec.head.texture import paint
from moda.motion.layout import get_layout
from moda.motion.rotation import rotation_matrix

CAMERA_DISTANCE = 7.0  # half image widths from the centre of the head: a portrait lens at about 1.2 m
_TORSO_TURN = 0.15  # share of the head's rotation that the shoulders follow
# How much further away than it is a part is taken to be when quads are sorted (head units): lids must
# cover eyes and lips teeth, although they touch.
_BEHIND = {LEFT_EYE: 0.02, RIGHT_EYE: 0.02, MOUTH: 0.02, TONGUE: 0.05, UPPER_TEETH: 0.05, LOWER_TEETH: 0.05}
_LAYOUT = get_layout("head59")


@dataclass(frozen=True, eq=False)
class PreparedHead:
    """What does not change from frame to frame: vertices at rest (V, 3) and the texture."""

    vertices: np.ndarray
    texture: np.ndarray


class HeadRenderer:
    """Renders square frames of ``size`` pixels, each averaged from ``supersample``^2 samples."""

    def __init__(self, size: int = 256, supersample: int = 2):
        if size < 16 or supersample < 1:
            raise ValueError(f"size {size} must be at least 16 and supersample {supersample} at least 1")
        self.size, self.supersample = size, supersample
        self.mesh = load_mesh()
        self._behind = np.array([_BEHIND.get(int(part), 0.0) for part in self.mesh.part], np.float32)
        self._expressions = self.mesh.expressions.reshape(52, -1)
        side = size * supersample
        self._background = _background(side)
        self._x = np.tile(np.arange(side, dtype=np.float32), side)
        self._y = np.repeat(np.arange(side, dtype=np.float32), side)
        self._prepared = lru_cache(maxsize=4)(lambda head: prepare(head, self.mesh))

    def render(self, head: Head, motion: np.ndarray) -> np.ndarray:
        """One uint8 RGB frame (size, size, 3) of ``head`` at one head59 ``motion`` (59,)."""
        prepared = self._prepared(head)
        vertices = self.pose(prepared.vertices, motion)
        corners, order, index = self.paint(vertices, motion)
        quads = self.mesh.quads[order]
        light, gloss = self._light(vertices)
        values = np.concatenate([self.mesh.texels[order], light[quads][..., None], gloss[quads][..., None]], -1)
        rank = np.zeros(len(corners) + 1, np.int32)
        rank[order + 1] = np.arange(1, len(order) + 1, dtype=np.int32)
        return self._shade(prepared.texture, rank[index.ravel()], planes(corners[order], values))

    def paint(self, vertices: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which quad is seen at every sample, for posed vertices (V, 3).

        Returns corners (Q, 4, 2) in samples, the quads that face the camera from far to near, and the
        index image (side, side): one plus the quad seen there, 0 for the background.
        """
        side = self.size * self.supersample
        quads = self.mesh.quads
        corners = ((project(vertices, motion) + 1) * (side / 2) - 0.5)[quads]
        low, high = corners.min(1), corners.max(1)
        visible = (signed_area(corners) < 0) & (high > 0).all(1) & (low < side).all(1)
        depth = vertices[:, 2][quads].mean(1) + self._behind
        chosen = np.flatnonzero(visible)
        order = chosen[np.argsort(-depth[chosen], kind="stable")]
        return corners, order, paint_indices(corners, order, side, side)

    def pose(self, rest: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Vertices at rest (V, 3) to vertices (V, 3) with expression, rotation and scale, about the centre."""
        expression = np.asarray(motion[_LAYOUT.groups["expression"]], np.float32)
        shaped = rest + (expression @ self._expressions).reshape(-1, 3)
        angles = np.asarray(motion[_LAYOUT.groups["rotation"]], np.float32)
        head = shaped @ rotation_matrix(angles)
        torso = shaped @ rotation_matrix(_TORSO_TURN * angles)
        follow = self.mesh.follow[:, None]
        return np.float32(motion[_LAYOUT.groups["scale"]]) * (torso + follow * (head - torso))

    def _light(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Diffuse light and highlight of every vertex (V,): sky, a soft key from the upper left, a fill."""
        normals = self.mesh.normals(vertices)
        occlusion = self.mesh.occlusion
        key = np.clip((normals @ _KEY + 0.25) / 1.25, 0, 1)
        fill = np.clip(normals @ _FILL, 0, 1)
        sky = 0.5 - 0.5 * normals[:, 1]
        light = (0.30 + 0.22 * sky) * (0.35 + 0.65 * occlusion)
        light += (0.62 * key + 0.16 * fill) * (0.4 + 0.6 * occlusion)
        highlight = np.clip(normals @ _HALF, 0, 1) ** 24 * occlusion
        return light, 55 * highlight

    def _shade(self, texture: np.ndarray, index: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Look up the texture and light every covered sample, then average the samples of each pixel."""
        covered = np.flatnonzero(index)
        u, v, light, gloss = evaluate(table, index[covered], self._x[covered], self._y[covered])
        colour = _lookup(texture, u, v)
        np.clip(light, 0.02, 1.6, out=light)
        shaded = colour[:, :3] * light[:, None]
        # Where little light arrives, skin lets more red through than green and blue.
        shaded[:, 0] += colour[:, 0] * (0.05 * np.clip(1 - light, 0, 1))
        shaded += (colour[:, 3] * np.clip(gloss, 0, 55) * (1 / 100))[:, None]
        frame = self._background.copy()
        frame.reshape(-1, 3)[covered] = np.clip(shaded, 0, 255)
        small = cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.rint(small).astype(np.uint8)


def rest_motion() -> np.ndarray:
    """(59,) float32: no expression, canonical size, in the middle of the image, looking at the camera."""
    motion = np.zeros(_LAYOUT.dim, np.float32)
    motion[_LAYOUT.groups["scale"]] = 1
    return motion


def project(vertices: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Posed vertices (V, 3) to image positions (V, 2) in half widths, (0, 0) the middle, +y down.

    The camera looks at the centre of the head and the picture is then shifted by the translation,
    so that moving a head in the image does not turn it.
    """
    nearness = CAMERA_DISTANCE / (CAMERA_DISTANCE + vertices[:, 2:])
    return vertices[:, :2] * nearness + np.asarray(motion[_LAYOUT.groups["translation"]][:2], np.float32)


def prepare(head: Head, mesh: HeadMesh) -> PreparedHead:
    """Vertices and texture of a head; the hair stands off the scalp by its depth."""
    texture, hair = paint(head, mesh)
    vertices = head.vertices(mesh)
    thick = np.zeros(len(vertices), np.float32)
    rows, columns = hair.shape
    texels = np.rint(mesh.texels).astype(np.int64)
    on_skin = mesh.part == 0
    row, column = np.clip(texels[on_skin][..., 1], 0, rows - 1), texels[on_skin][..., 0] % columns
    thick[mesh.quads[on_skin]] = hair[row, column]
    return PreparedHead(vertices + head.hair_depth * thick[:, None] * mesh.normals(vertices), texture)


def _unit(x: float, y: float, z: float) -> np.ndarray:
    vector = np.array([x, y, z], np.float32)
    return vector / np.linalg.norm(vector)


_KEY, _FILL = _unit(-0.45, -0.5, -0.8), _unit(0.8, -0.1, -0.5)
_HALF = _unit(*(_KEY + np.array([0, 0, -1], np.float32)))


def _background(side: int) -> np.ndarray:
    """A studio wall, lighter in the middle, (side, side, 3) float32."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    glow = np.exp(-1.1 * (x**2 + (y + 0.2) ** 2))[..., None]
    return (np.array([58, 64, 74]) + glow * np.array([62, 66, 70])).astype(np.float32)


def _lookup(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear texture values (N, 4) float32; the columns wrap around the back of the head."""
    count = len(u)
    columns = 4096
    rows = -(-count // columns)
    padded = np.zeros((2, rows * columns), np.float32)
    padded[0, :count], padded[1, :count] = u, v
    map_x, map_y = padded.reshape(2, rows, columns)
    values = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return values.reshape(-1, texture.shape[2])[:count].astype(np.float32)
