"""Rendered crops put back into the picture that they were cut from."""

import cv2
import numpy as np

from moda.codec.liveportrait.crop import Crop

FEATHER = 1 / 8  # of the crop's side over which its edge fades


class Paster:
    """Puts crops of one portrait back into its picture (H, W, 3) uint8 RGB."""

    def __init__(self, picture: np.ndarray, crop: Crop):
        self.picture, self.size = picture, crop.size
        height, width = picture.shape[:2]
        corners = np.array([[0, 0, 1], [crop.size, 0, 1], [0, crop.size, 1], [crop.size, crop.size, 1]])
        places = (corners @ crop.to_picture.T)[:, :2]
        left, top = np.clip(np.floor(places.min(0)), 0, (width - 1, height - 1)).astype(int).tolist()
        right, bottom = np.clip(np.ceil(places.max(0)) + 1, (left + 1, top + 1), (width, height)).astype(int).tolist()
        self._area = (slice(top, bottom), slice(left, right))
        self._size = (right - left, bottom - top)
        self._place = (np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ crop.to_picture)[:2]
        self._cover = np.clip(self._warped(feathered(crop.size)), 0, 1)

    def paste(self, frame: np.ndarray) -> np.ndarray:
        """The picture with a rendered crop (size, size, 3) uint8 in its place."""
        pasted = self.picture.copy()
        below = np.ascontiguousarray(pasted[self._area])
        pasted[self._area] = cv2.blendLinear(self._warped(frame), below, self._cover, 1 - self._cover)
        return pasted

    def _warped(self, square: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(square, self._place, self._size, flags=cv2.INTER_LINEAR)


def feathered(size: int) -> np.ndarray:
    """(size, size) float32: 1 inside, smoothly to 0 at the edge."""
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]) / (FEATHER * size)
    rise = np.clip(distance, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    return np.outer(rise, rise).astype(np.float32)
