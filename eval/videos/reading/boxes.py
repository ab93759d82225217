"""Where the face is in a video: the one box that all rows of a clip are cropped by."""

from itertools import islice

import numpy as np

from moda.errors import UserError
from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.source import VideoSource
from moda.face.crop import CropBox, crop_box
from moda.face.landmarker import FaceLandmarker

EVERY = 5  # frames; a head does not leave a box with this margin in a fifth of a second
FEWEST = 0.5  # part of the frames looked at that must show a face
VERSION = 1


def face_box(source: VideoSource, protocol: Protocol, cache: FeatureCache, look: bool = True) -> CropBox | None:
    """The square around the largest face of all looked-at frames, from the cache where it is known.

    look: whether to find it now; without, None where it is not known. Raises UserError for too few faces.
    """
    key = {
        "box": VERSION, "video": source.sha256, "margin": protocol.margin, "fps": source.fps,
        "frames": protocol.max_frames, "every": EVERY,
    }  # fmt: skip
    if key not in cache:
        if not look:
            return None
        try:
            box = find_face_box(source, protocol.margin, protocol.max_frames)
            cache.save(key, {"box": np.array([box.left, box.top, box.side])})
        except UserError as error:
            cache.save_failure(key, str(error))
    left, top, side = cache.load(key)["box"].tolist()
    return CropBox(left, top, side)


def find_face_box(source: VideoSource, margin: float, max_frames: int) -> CropBox:
    """The square around the largest face of every fifth frame. Raises UserError for too few faces."""
    boxes, seen = [], 0
    landmarker = FaceLandmarker()
    for frame in islice(source.frames(), 0, max_frames, EVERY):
        seen += 1
        boxes += [face.box for face in landmarker.detect(frame)[:1]]
    if len(boxes) < max(FEWEST * seen, 1):
        raise UserError(f"a face was found in {len(boxes)} of {seen} frames; there is nothing to crop by")
    return crop_box(np.array(boxes), source.size, margin)
