"""One face followed through a clip, and what a frame hides filled in."""

from collections.abc import Sequence

import numpy as np

from moda.errors import UserError
from moda.face.landmarker import Face

MIN_FOUND = 0.5  # share of frames that must show a face


def follow(faces: Sequence[Face], last: Face | None) -> Face | None:
    """Of several faces the one nearest to the last one, at first the first; None where there is none."""
    if not faces or last is None:
        return faces[0] if faces else None
    centre = last.landmarks[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - centre)))


def require_found(found: Sequence[bool]) -> np.ndarray:
    """(T,) bool; UserError for an empty clip or when fewer than half of the frames show a face."""
    seen = np.array(found, bool)
    if not seen.any() or seen.mean() < MIN_FOUND:
        raise UserError(
            f"a face was found in {int(seen.sum())} of {len(seen)} frames; use a clip whose face is in view, "
            "larger than a tenth of the frame and less than about 60 degrees turned away"
        )
    return seen


def fill_gaps(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Fill frames without a face linearly in time: (F, D) rows of the found frames to (T, D) float32."""
    at, everywhere = np.flatnonzero(found), np.arange(len(found))
    return np.stack([np.interp(everywhere, at, column) for column in rows.T], 1).astype(np.float32)
