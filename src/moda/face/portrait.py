"""The picture of a portrait and the face in it."""

import logging
from pathlib import Path

import cv2
import numpy as np

from moda.errors import UserError
from moda.face.landmarker import Face, FaceLandmarker

logger = logging.getLogger(__name__)


def read_image(path: Path) -> np.ndarray:
    """Read an image file as uint8 RGB (H, W, 3), upright; UserError when there is none."""
    if not path.is_file():
        raise UserError(f"portrait {path} does not exist; give an image file or an identity such as head:0")
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise UserError(f"portrait {path} is not an image that can be read; use a JPEG or PNG file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def largest_face(image: np.ndarray, landmarker: FaceLandmarker, name: str = "image") -> Face:
    """The largest face in a uint8 RGB image, with a warning where there are more; UserError where there is none."""
    faces = landmarker.detect(image)
    if not faces:
        raise UserError(f"no face found in {name}; use a picture in which one face is large, frontal and well lit")
    if len(faces) > 1:
        logger.warning("%s shows %d faces; the largest is used", name, len(faces))
    return faces[0]


def named_head(source: str, *codecs: str) -> int | None:
    """N where ``source`` is ``head:N`` (or begins with another of ``codecs``); None where it is no named identity.

    Raises UserError where N is no whole number from 0.
    """
    name, colon, number = source.partition(":")
    if not colon or name not in ("head", *codecs):
        return None
    if not number.isascii() or not number.isdigit():
        raise UserError(f"unknown identity {source!r}; named identities are head:0, head:1, head:2, ...")
    return int(number)
