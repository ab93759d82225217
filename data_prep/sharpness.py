"""How sharp a face is: cost about 0.5 ms a look."""

import cv2
import numpy as np

from moda.data_prep.track import Seen

SIDE = 256  # pixels of the face that is judged: about what a stored crop of 512 shows


def sharpness(frame: np.ndarray, seen: Seen) -> float:
    """Detail of a face in uint8 RGB ``frame``: what the Laplacian leaves, over the contrast; about 0.02 when blurred.

    The face is brought to ``SIDE`` pixels first, so that one that was enlarged counts as what it is, and
    neither its size nor its light matters. NaN where nothing of it lies in the frame.
    """
    x0, y0, x1, y1 = (round(value) for value in seen.box)
    face = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if min(face.shape[:2]) < 8:
        return float("nan")
    way = cv2.INTER_AREA if max(face.shape[:2]) > SIDE else cv2.INTER_CUBIC
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=way).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.8)  # grain of the sensor and of the encoder is no detail
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 1.0))
