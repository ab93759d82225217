"""A clip at a glance: frames side by side in one picture."""

from collections.abc import Sequence

import numpy as np


def contact_sheet(frames: Sequence[np.ndarray], columns: int = 8, gap: int = 4) -> np.ndarray:
    """Lay uint8 RGB frames of one size out in rows, left to right, on white.

    ``gap`` is the white margin in pixels between frames. Returns uint8 (height, width, 3); a last
    row that is not full stays white.
    """
    if len(frames) == 0:
        raise ValueError("a contact sheet needs at least one frame")
    height, width, _ = frames[0].shape
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
