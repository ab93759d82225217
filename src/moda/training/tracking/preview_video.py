"""Held-out clips rendered while a model trains: the true motion and the model's on one face, with the sound."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moda.audio.encoder import SAMPLE_RATE
from moda.codec.base import MotionCodec, Portrait
from moda.data.media import read_sounds
from moda.data.shards import Clip, FeatureShards
from moda.errors import UserError
from moda.generation.faces import Faces
from moda.generation.pipeline import load_codec
from moda.generation.video import VideoWriter

STAND_IN = "1"  # of the codec's named identities, for a clip whose own face is not at hand


class PreviewVideos:
    """Writes a video of each clip: left the truth, right the model, both decoded by the data set's codec.

    The face is the one in the clip's first filmed frame, or one of the codec's named identities where the data
    set has no video; then there is no sound either. Where the codec cannot be built here a warning says why, once,
    and there are no videos.
    """

    def __init__(self, shards: FeatureShards):
        self.shards = shards
        self._codec: MotionCodec | None = None
        self._faces: Faces | None = None
        self._portraits: dict[str, Portrait] = {}
        self._sounds: dict[str, np.ndarray] = {}
        self._impossible = False

    def write(self, directory: Path, clips: Sequence[Clip], motions: Sequence[np.ndarray]) -> dict[str, Path]:
        """motions: (T, D) of the model for each clip. Returns key -> directory/KEY.mp4."""
        if self._impossible:
            return {}
        try:
            codec = self._open(clips)
            files = {}
            for clip, motion in zip(clips, motions, strict=True):
                files[clip.key] = directory / f"{clip.key}.mp4"
                self._render(files[clip.key], codec, clip, motion)
            return files
        except UserError as error:
            self._impossible = True
            warnings.warn(f"previews are curves only: {error}", stacklevel=2)
            return {}

    def _open(self, clips: Sequence[Clip]) -> MotionCodec:
        """What does not change from one preview to the next, made at the first."""
        if self._codec is None:
            shards, manifest = self.shards, self.shards.manifest
            self._codec = load_codec(dict(manifest.codec), manifest.codec_fingerprint)
            self._faces = Faces(self._codec, shards.root, manifest, shards.split)
            self._sounds = read_sounds(shards.root, manifest, shards.split, {clip.key for clip in clips})
        return self._codec

    def _render(self, path: Path, codec: MotionCodec, clip: Clip, motion: np.ndarray) -> None:
        portrait, sound = self._portrait(codec, clip.key), self._sounds.get(clip.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(path, (codec.size, 2 * codec.size), codec.layout.fps, sound, SAMPLE_RATE) as writer:
            for panels in zip(codec.decode(portrait, clip.motion), codec.decode(portrait, motion), strict=True):
                writer.write(np.concatenate(panels, axis=1))

    def _portrait(self, codec: MotionCodec, key: str) -> Portrait:
        if key not in self._portraits:
            assert self._faces is not None
            try:
                self._portraits[key] = self._faces.of(key).portrait
            except UserError:  # no video, or its first frame shows no face
                self._portraits[key] = codec.portrait(f"{codec.name}:{STAND_IN}")
        return self._portraits[key]
