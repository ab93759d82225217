"""The colours of a head, painted into its atlas: skin, lips, brows, hair, eyes, teeth, cloth."""

from collections.abc import Iterable

import cv2
import numpy as np

from moda.codec.head import atlas
from moda.codec.head.identity import Head
from moda.codec.head.mesh import HeadMesh

# Azimuth and elevation in degrees on the base head, right half; the left is its mirror image.
_BROW = np.array([(5.0, 17.6), (10.0, 19.0), (17.0, 20.4), (24.0, 19.6), (29.5, 16.4)])
_BROW_WIDTH = np.array([1.5, 2.0, 1.9, 1.4, 0.5])
_HAIRLINE = np.array(
    [(0, 0), (20, -1), (32, -7), (42, -20), (50, -36), (62, -50), (72, -62), (82, -62), (92, -44), (104, -44),
     (114, -64), (124, -86), (180, -92)], float,
)  # fmt: skip


def paint(head: Head, mesh: HeadMesh) -> tuple[np.ndarray, np.ndarray]:
    """Texture of a head: colour (HEIGHT, WIDTH, 4) uint8, RGB and gloss; and its hair, (SKIN_ROWS, WIDTH).

    Gloss scales the highlights; hair is the share of hair in each skin texel, in [0, 1].
    """
    rng = np.random.default_rng(head.seed)
    texture = np.zeros((atlas.HEIGHT, atlas.WIDTH, 4), np.float32)
    skin, hair = _skin(head, mesh, rng)
    texture[: atlas.SKIN_ROWS] = skin
    _eye(texture, head, rng)
    _teeth(texture)
    _inside(texture, atlas.TONGUE, (176, 96, 94), (52, 18, 20))
    _inside(texture, atlas.MOUTH, (150, 72, 72), (34, 10, 12))
    texture[atlas.EAR.slices] = _array([*_array(head.skin) * [1.0, 0.93, 0.93], 40])
    _torso(texture, head)
    return np.rint(np.clip(texture, 0, 255)).astype(np.uint8), hair


def hair_cover(head: Head) -> np.ndarray:
    """Share of hair on the scalp for each skin texel, (SKIN_ROWS, WIDTH) in [0, 1]."""
    azimuth, elevation = atlas.skin_grid()
    line = head.hairline + np.interp(np.abs(azimuth), *_HAIRLINE.T)
    return _smoothstep((elevation - line) / 5 + 0.5)


def _skin(head: Head, mesh: HeadMesh, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    azimuth, elevation = atlas.skin_grid()
    side = np.abs(azimuth)
    colour = np.broadcast_to(_array(head.skin), (*azimuth.shape, 3)).copy()
    colour *= 1 + 0.035 * _noise(rng, azimuth.shape, 14)[..., None] + 0.02 * _noise(rng, azimuth.shape, 1.2)[..., None]

    flush = _bump(side - 24, 9) * _bump(elevation + 12, 9) + 0.7 * _bump(side, 5) * _bump(elevation + 4, 6)
    colour *= 1 - flush[..., None] * _array([-0.01, 0.10, 0.09])
    shade = 0.10 * _bump(side - 17, 8) * _bump(elevation - 6, 3)  # below the eyes
    shade += 0.5 * mesh.mask("eyelids")
    colour *= 1 - shade[..., None] * _array([0.6, 0.9, 0.9])
    if head.freckles:
        spots = (_noise(rng, azimuth.shape, 1.5) > 1.5) * _bump(side - 15, 16) * _bump(elevation + 6, 9)
        colour *= 1 - head.freckles * 0.4 * spots[..., None] * _array([0.5, 0.9, 1.0])
    gloss = 70 + 50 * _bump(side, 5) * _bump(elevation + 8, 8) + 30 * _bump(side, 18) * _bump(elevation - 36, 9)

    stubble = head.stubble * _smoothstep((-14 - elevation) / 6 - np.clip(side - 52, 0, None) / 4 + 0.5)
    stubble *= _smoothstep((elevation + 50) / 8)  # clean-shaven down the neck
    stubble *= 1 - _bump(side, 3) * _bump(elevation + 14, 1.5)
    colour = _blend(colour, _array(head.hair), 0.5 * stubble * (0.8 + 0.2 * _noise(rng, side.shape, 1)))
    lips = np.clip(mesh.mask("lips") * 1.2, 0, 1)
    colour = _blend(colour, _array(head.lips) * (1 + 0.05 * _noise(rng, side.shape, 1)[..., None]), lips)
    gloss = gloss * (1 - lips) + 120 * lips

    strands = _noise(rng, side.shape, (0.8, 5)) * 0.16 + _noise(rng, side.shape, (5, 12)) * 0.08
    hair_colour = _array(head.hair) * (1 + strands[..., None])
    brow = _brow(head, rng)
    colour = _blend(colour, hair_colour * 0.9, 0.85 * brow)
    hair = hair_cover(head)
    edge = _smoothstep(hair * 2.2 - 0.6 + 1.6 * hair * (1 - hair) * _noise(rng, side.shape, (0.7, 3)))
    colour = _blend(colour, hair_colour, edge)
    gloss = gloss * (1 - np.maximum(edge, brow)) + 45 * edge
    return np.concatenate([colour, gloss[..., None]], -1), hair


def _brow(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Both eyebrows as short strokes, (SKIN_ROWS, WIDTH) in [0, 1]."""
    zoom = 4
    left, right, top, bottom = -40.0, 40.0, 30.0, 8.0
    per_degree = atlas.WIDTH / 360 * zoom
    patch = np.zeros((round((top - bottom) * per_degree), round((right - left) * per_degree)), np.uint8)
    for sign in (-1, 1):
        for _ in range(260):
            t = rng.uniform(0, 1)
            centre = np.array([np.interp(t, np.linspace(0, 1, len(_BROW)), _BROW[:, axis]) for axis in (0, 1)])
            width = np.interp(t, np.linspace(0, 1, len(_BROW)), _BROW_WIDTH) * head.brow
            start = centre + np.array([0, rng.uniform(-width, 0.5 * width)])
            lean = np.deg2rad(80 - 75 * t + rng.normal(0, 8))
            end = start + 2.2 * np.array([np.cos(lean), np.sin(lean) * 0.8])
            ends = (np.stack([start, end]) * [sign, -1] + [-left, top]) * per_degree
            first, last = np.rint(ends * 16).astype(int).tolist()
            cv2.line(patch, first, last, 200, 2, cv2.LINE_AA, 4)
    small = cv2.resize(
        cv2.GaussianBlur(patch, (0, 0), zoom * 0.4), None, fx=1 / zoom, fy=1 / zoom, interpolation=cv2.INTER_AREA
    )
    cover = np.zeros((atlas.SKIN_ROWS, atlas.WIDTH), np.float32)
    row = round((90 - top) * atlas.SKIN_ROWS / 180)
    column = round((left + 180) * atlas.WIDTH / 360)
    cover[row : row + small.shape[0], column : column + small.shape[1]] = small / 255.0
    return cover


def _eye(texture: np.ndarray, head: Head, rng: np.random.Generator) -> None:
    across, down = atlas.EYE.grid()
    x, y = 2 * across - 1, 2 * down - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    white = _array([226, 222, 216]) * (1 - 0.22 * np.clip(radius - 0.45, 0, 1)[..., None] * _array([0.5, 1, 1]))
    fibres = 1 + 0.12 * np.cos(angle * 23 + rng.uniform(0, 6)) * np.cos(angle * 9)
    iris = _array(head.iris) * (fibres * (0.75 + 0.9 * np.clip(radius / 0.45, 0, 1)))[..., None]
    iris *= 1 - 0.65 * _smoothstep((radius - 0.34) / 0.1)[..., None]  # the dark ring around it
    colour = _blend(white, iris, _smoothstep((0.45 - radius) / 0.05 + 0.5))
    colour = _blend(colour, _array([14, 12, 12]), _smoothstep((0.18 - radius) / 0.05 + 0.5))
    glint = _bump(x + 0.14, 0.055) * _bump(y + 0.2, 0.055)
    colour = _blend(colour, _array([255, 255, 255]), 0.9 * glint)
    texture[atlas.EYE.slices] = np.concatenate([colour, np.full((*radius.shape, 1), 40)], -1)


def _teeth(texture: np.ndarray) -> None:
    across, down = atlas.TEETH.grid()
    position = (across - 0.5) * 22  # about a dozen teeth between the corners of the mouth
    gap = np.exp(-((np.abs(position - np.rint(position)) / 0.09) ** 2))
    gum = _smoothstep((0.25 - down) / 0.1)
    colour = _blend(_array([232, 226, 212]) * np.ones((*gap.shape, 1)), _array([120, 96, 84]), 0.3 * gap)
    colour = _blend(colour, _array([160, 84, 82]), gum)
    texture[atlas.TEETH.slices] = np.concatenate([colour, np.full((*gap.shape, 1), 90)], -1)


def _inside(texture: np.ndarray, cell: atlas.Cell, front: tuple[int, ...], back: tuple[int, ...]) -> None:
    """Something in the mouth: ``front`` colour at the lips, ``back`` in the throat."""
    _, depth = cell.grid()
    colour = _blend(_array(front) * np.ones((*depth.shape, 1)), _array(back), _smoothstep(depth * 1.6))
    texture[cell.slices] = np.concatenate([colour, np.full((*depth.shape, 1), 30)], -1)


def _torso(texture: np.ndarray, head: Head) -> None:
    across, down = atlas.TORSO.grid()
    x, y = (across - 0.5) * 5.2, 0.9 + down * 2.8  # decimetres right of and below the centre of the head
    collar = _smoothstep((y - 1.42 + 0.5 * np.clip(np.abs(x) - 0.35, 0, None)) / 0.04)
    colour = _blend(_array(head.skin) * np.ones((*x.shape, 1)), _array(head.cloth), collar)
    gloss = 70 * (1 - collar) + 12 * collar
    texture[atlas.TORSO.slices] = np.concatenate([colour, gloss[..., None]], -1)


def _array(values: Iterable[float]) -> np.ndarray:
    return np.array(list(values), np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], grain: float | tuple[float, float]) -> np.ndarray:
    """Smooth noise of unit variance; ``grain`` is its size in texels, or (across, down)."""
    across, down = grain if isinstance(grain, tuple) else (grain, grain)
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigmaX=across, sigmaY=down)
    return noise / noise.std()


def _blend(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return below + (above - below) * cover[..., None].astype(np.float32)


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / width) ** 2).astype(np.float32)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
