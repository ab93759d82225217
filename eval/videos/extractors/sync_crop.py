"""The crop that SyncNet looks at, from the boxes of a face track: the one of the original pipeline."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.signal import medfilt

from moda.errors import UserError

MARGIN = 0.4  # c: the crop is 1 + c times the face to every side, and c lower
MEDIAN = 13  # frames
GREY = 110
SIDE = 224
JPEG_QUALITY = 95


def smooth_track(boxes: np.ndarray) -> np.ndarray:
    """Boxes (T, 4) x0, y0, x1, y1 of a track to (T, 3) half side, centre x, centre y, median-filtered over 13 frames.

    The half side is that of the longer edge. Where the filter reaches over an end it sees zeros, as in
    the original (``scipy.signal.medfilt``): a track's first and last six frames are cropped closer.
    """
    boxes = np.asarray(boxes, np.float64)
    half = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / 2
    centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return np.stack([medfilt(values, MEDIAN) for values in (half, centre_x, centre_y)], 1)


def sync_crop(frame: np.ndarray, half: float, centre_x: float, centre_y: float, margin: float = MARGIN) -> np.ndarray:
    """Cut a uint8 picture (H, W, 3) around a face: (224, 224, 3), grey 110 where it ends.

    From half above to half (1 + 2 margin) below the centre, half (1 + margin) to both sides.
    """
    half = max(half, 1.0)
    pad = int(half * (1 + 2 * margin))
    padded = cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(GREY,) * 3)
    x, y = centre_x + pad, centre_y + pad
    top, bottom = int(y - half), int(y + half * (1 + 2 * margin))
    left, right = int(x - half * (1 + margin)), int(x + half * (1 + margin))
    face = padded[max(top, 0) : max(bottom, 1), max(left, 0) : max(right, 1)]
    if not face.size:  # the centre lies outside the frame: what is there is padding
        return np.full((SIDE, SIDE, 3), GREY, np.uint8)
    return cv2.resize(face, (SIDE, SIDE))


def through_xvid(crops: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """uint8 BGR (224, 224, 3) as they come out of an XVID file and then a JPEG each: what the original looks at.

    Raises UserError where OpenCV was built without that codec.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "crops.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"XVID"), 25, (SIDE, SIDE))
        if not writer.isOpened():
            raise UserError("OpenCV cannot write XVID here; give protocol.lossy=false, which changes the protocol")
        for crop in crops:
            writer.write(crop)
        writer.release()
        reader = cv2.VideoCapture(path)
        while True:
            more, frame = reader.read()
            if not more:
                break
            data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            yield np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        reader.release()
