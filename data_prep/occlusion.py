"""Hands, microphones and hair that come before a face: cost about 0.3 ms a look.

A face that is turned back to one place looks nearly the same in all frames of a clip, but for eyes and
mouth. What differs from how a part of it usually looks has come before it. What stays there all the time,
as glasses do, is not found this way.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from moda.data_prep.track import Seen

SIDE, CELLS = 64, 8  # pixels of the turned face, and parts along a side
OTHER = 1.1  # distance, in standard deviations of the face's own contrast, of a part that shows something else
EYES, CHIN = (33, 263), 152  # of the 478 landmarks: outer corners, and the chin
# where those lie in the turned face, in sides
TARGET = np.array([(0.25, 0.35), (0.75, 0.35), (0.5, 0.95)])
# parts that move by themselves (eyes and brows, mouth) or lie beside the face, by row and column
IGNORED = np.zeros((CELLS, CELLS), bool)
IGNORED[0, :] = IGNORED[:, 0] = IGNORED[:, 7] = IGNORED[7, :2] = IGNORED[7, 6:] = True
IGNORED[2, :] = IGNORED[5:7, 2:6] = True


def turned(frame: np.ndarray, seen: Seen) -> np.ndarray | None:
    """The face of uint8 RGB ``frame``, grey and upright (SIDE, SIDE) float32; None without landmarks."""
    if seen.landmarks is None or len(seen.landmarks) < 468:
        return None
    points = seen.landmarks[[*EYES, CHIN]].astype(np.float32)
    matrix = cv2.getAffineTransform(points, (TARGET * SIDE).astype(np.float32))
    small = cv2.warpAffine(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return small.astype(np.float32)


def occlusion(faces: Sequence[np.ndarray]) -> float:
    """Largest share of the face, 0 to 1, that is covered in one of the turned ``faces`` of a clip; NaN for under 3.

    The largest over the looks but for the worst one in twenty, which blinking and blur decide.
    """
    if len(faces) < 3:
        return float("nan")
    cells = np.stack([_cells(face) for face in faces])  # (n, CELLS, CELLS)
    usual = np.median(cells, axis=0)
    differs = np.abs(cells - usual) > OTHER
    shares = differs[:, ~IGNORED].mean(1)
    return float(np.quantile(shares, 0.95, method="higher"))


def _cells(face: np.ndarray) -> np.ndarray:
    """Mean brightness of the parts, in contrasts of the face: light that changes on all of it does not count."""
    cells = face.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean((1, 3))
    kept = cells[~IGNORED]
    return (cells - np.median(kept)) / (kept.std() + 4.0)
