"""Where each part of the head lies in its texture.

The skin is unrolled on a sphere around the centre of the head (azimuth across, elevation down), so
that a texel has about the same size everywhere on the face; small parts have cells below it.
"""

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 1024, 768
SKIN_ROWS = 512


@dataclass(frozen=True)
class Cell:
    """A rectangle of the texture in texels; ``place`` maps the unit square into it."""

    left: int
    top: int
    width: int
    height: int

    def place(self, unit: np.ndarray) -> np.ndarray:
        """(..., 2) in [0, 1] to texel coordinates half a texel inside the cell."""
        size = np.array([self.width - 2, self.height - 2])
        return np.array([self.left + 0.5, self.top + 0.5]) + np.clip(unit, 0, 1) * size

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the cell."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit coordinates across and down, each (height, width)."""
        across = np.linspace(0, 1, self.width)[None, :].repeat(self.height, 0)
        down = np.linspace(0, 1, self.height)[:, None].repeat(self.width, 1)
        return across, down


TORSO = Cell(0, 512, 256, 192)
EYE = Cell(256, 512, 160, 160)
TEETH = Cell(416, 512, 320, 64)
TONGUE = Cell(416, 576, 64, 64)
MOUTH = Cell(480, 576, 64, 64)
EAR = Cell(544, 576, 64, 64)


def unroll(points: np.ndarray) -> np.ndarray:
    """Texel coordinates (..., 2) of skin points (..., 3) in head units, image axes, centre at 0.

    The middle column is straight ahead; the seam runs down the back of the head.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    azimuth = np.arctan2(x, -z)
    elevation = np.arctan2(-y, np.hypot(x, z))
    return np.stack([(azimuth / (2 * np.pi) + 0.5) * WIDTH, (0.5 - elevation / np.pi) * SKIN_ROWS], -1)


def skin_grid() -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation in degrees of every skin texel, each (SKIN_ROWS, WIDTH)."""
    azimuth = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 360
    elevation = (0.5 - (np.arange(SKIN_ROWS) + 0.5) / SKIN_ROWS) * 180
    return azimuth[None, :].repeat(SKIN_ROWS, 0), elevation[:, None].repeat(WIDTH, 1)
