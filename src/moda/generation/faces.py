"""The face of a clip, ready to be animated: fitted to the clip's first frame, as a user would give a portrait."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2

from moda.codec.base import MotionCodec, Portrait
from moda.data.media import pick_frames, read_video
from moda.data.schema import DatasetManifest
from moda.errors import UserError


@dataclass(frozen=True)
class Face:
    """portrait: for ``MotionCodec.decode``; video: the clip's mp4 file, filmed."""

    portrait: Portrait
    video: bytes


class Faces:
    """Faces of a split's clips by key; each is fitted once."""

    def __init__(self, codec: MotionCodec, root: Path, manifest: DatasetManifest, split: str):
        self.codec, self.root, self.manifest, self.split = codec, root, manifest, split
        self._fitted: dict[str, Face] = {}

    def of(self, key: str) -> Face:
        """Raises UserError when the data set holds no video of the clip or its first frame shows no face."""
        if key not in self._fitted:
            self._fitted[key] = self._fit(key)
        return self._fitted[key]

    def _fit(self, key: str) -> Face:
        video = read_video(self.root, self.manifest, self.split, key)
        if video is None:
            raise UserError(f"the data set holds no video of {key}")
        first = pick_frames(video, {0}).get(0)
        if first is None:
            raise UserError(f"the video of {key} has no frames")
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / f"{key}.png"
            cv2.imwrite(str(image), first[:, :, ::-1])
            return Face(self.codec.portrait(image), video)
