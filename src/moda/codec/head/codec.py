"""The ``head`` codec: 52 ARKit blendshapes and head pose, measured by MediaPipe, rendered on a CC0 head."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from moda.codec.base import EncodedClip, Portrait
from moda.codec.head.correspondence import BASE_HEAD, image_points, load_landmarks
from moda.codec.head.fit import fit_head, read_image
from moda.codec.head.identity import Head, random_head
from moda.codec.head.pose import KEY_LANDMARKS, identity_vector, measure_pose, unpose
from moda.codec.head.renderer import HeadRenderer, rest_motion
from moda.errors import UserError
from moda.face.landmarker import Face, FaceLandmarker
from moda.files import sha256_of
from moda.motion.layout import get_layout
from moda.weights import find

CODEC_VERSION = 1  # raise when the same frames would give other numbers
_MIN_FOUND = 0.5  # share of frames that must show a face
_TREMOR = 0.02  # what the landmarker's blendshapes waver by on a still face
_INNER_LIPS = ((82, 87), (13, 14), (312, 317))  # upper and lower landmark, left to right
_LAYOUT = get_layout("head59")
_EXPRESSION = _LAYOUT.groups["expression"]


@dataclass(frozen=True, eq=False)
class HeadSource:
    """What ``HeadCodec.decode`` renders: a head, and the (52,) blendshapes it measures at rest."""

    head: Head
    neutral: np.ndarray


class HeadCodec:
    """Motion codec of layout head59: [52 blendshapes | scale, tx, ty, tz | pitch, yaw, roll].

    Blendshapes are what MediaPipe measures, in [0, 1]. It reads a face of its own into every
    person (raised brows, a pucker), so ``decode`` takes as zero what it measures on the portrait's
    own neutral face: decode undoes encode, and ``Portrait.rest`` renders as the neutral face.
    True ARKit curves are rendered by ``HeadRenderer`` itself.
    Scale 1 is the canonical size; translation is that of the centre of the head in half image
    widths, +x right, +y down, z 0; angles are those of ``moda.motion.rotation``: positive pitch
    looks down, positive yaw turns to the left of the image, positive roll tilts clockwise.
    """

    name = "head"
    layout = _LAYOUT
    identity_dim = 3 * len(KEY_LANDMARKS)

    def __init__(self, size: int = 256, supersample: int = 2):
        self.size, self.supersample = size, supersample
        self._sources = lru_cache(maxsize=64)(self._named_portrait)

    @cached_property
    def renderer(self) -> HeadRenderer:
        return HeadRenderer(self.size, self.supersample)

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        return FaceLandmarker()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the landmarker's model, the mesh, the landmark template and the code's version."""
        parts = [
            f"head {CODEC_VERSION}",
            sha256_of(find("face_landmarker")),
            self.renderer.mesh.digest,
            hashlib.sha256(load_landmarks().template.tobytes()).hexdigest(),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def encode(self, frames: Iterable[np.ndarray]) -> EncodedClip:
        """Measure square uint8 RGB frames (S, S, 3); see ``MotionCodec.encode``.

        Of several faces the one nearest to where the last one was is followed, at first the largest.
        Raises UserError for an empty clip or when fewer than half of the frames show a face.
        """
        rows, unposed, found = [], [], []
        last: Face | None = None
        for frame in frames:
            face = _follow(self.landmarker.detect(frame), last)
            found.append(face is not None)
            if face is None:
                continue
            last = face
            points = image_points(face, frame.shape[1])
            rows.append(_motion(face, points))
            unposed.append(unpose(points))
        seen = np.array(found, bool)
        if len(rows) == 0 or seen.mean() < _MIN_FOUND:
            raise UserError(
                f"a face was found in {len(rows)} of {len(seen)} frames; use a clip whose face is in view, "
                "larger than a tenth of the frame and less than about 60 degrees turned away"
            )
        identity = identity_vector(np.median(np.stack(unposed), axis=0))
        return EncodedClip(_interpolate(np.stack(rows), seen), identity, seen)

    def portrait(self, source: Path | str) -> Portrait:
        """A head from an image, or the named identity ``head:N`` (N >= 0 seeds ``random_head``).

        ``rest`` is the neutral face, looking at the camera from the middle of the image.
        """
        text = str(source)
        if text.startswith("head:"):
            number = text.removeprefix("head:")
            if not number.isascii() or not number.isdigit():
                raise UserError(f"unknown identity {text!r}; named identities are head:0, head:1, head:2, ...")
            return self._sources(int(number))
        return self.portrait_of(fit_head(read_image(Path(source)), self.landmarker, str(source)))

    def portrait_of(self, head: Head) -> Portrait:
        """Prepare a head: measure what the landmarker sees on its neutral face."""
        motion = rest_motion()
        try:
            measured = self.encode([self.renderer.render(head, motion)])
        except UserError as error:
            raise UserError("no face can be measured on this head; choose another portrait") from error
        motion[_EXPRESSION] = measured.motion[0, _EXPRESSION]
        return Portrait(measured.identity, motion, HeadSource(head, motion[_EXPRESSION].copy()))

    def decode(self, portrait: Portrait, motion: np.ndarray) -> Iterator[np.ndarray]:
        """Render measured motion (T, 59) frame by frame: uint8 RGB (size, size, 3)."""
        source = portrait.source
        if not isinstance(source, HeadSource):
            raise UserError("this portrait was made by another codec; make it with the head codec")
        for row in self.layout.check(np.atleast_2d(motion)):
            yield self.renderer.render(source.head, calibrate(row, source.neutral))

    def lip_aperture(self, motion: np.ndarray) -> np.ndarray:
        """(..., 59) motion to (...): height between the inner lips over the width of the mouth at rest, >= 0."""
        return np.maximum(self.layout.check(np.asarray(motion))[..., _EXPRESSION] @ self._aperture, 0)

    @cached_property
    def _aperture(self) -> np.ndarray:
        """(52,) lip opening that each blendshape at 1 adds on the base head."""
        mesh, vertices = self.renderer.mesh, load_landmarks().vertices
        upper, lower = vertices[[pair[0] for pair in _INNER_LIPS]], vertices[[pair[1] for pair in _INNER_LIPS]]
        opening = (mesh.expressions[:, lower, 1] - mesh.expressions[:, upper, 1]).mean(1)
        rest = BASE_HEAD.vertices(mesh)
        return opening / np.linalg.norm(rest[vertices[61]] - rest[vertices[291]])

    def _named_portrait(self, seed: int) -> Portrait:
        return self.portrait_of(random_head(seed))


def calibrate(motion: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Measured motion (59,) to what to render (59,): the neutral reading becomes 0, 1 stays 1."""
    calibrated = np.array(motion, np.float32)
    floor = np.minimum(neutral + _TREMOR, 0.9)
    calibrated[_EXPRESSION] = np.clip((calibrated[_EXPRESSION] - floor) / (1 - floor), 0, 1)
    return calibrated


def _motion(face: Face, points: np.ndarray) -> np.ndarray:
    pose = measure_pose(points)
    motion = np.concatenate([face.blendshapes, [pose.scale, *pose.translation, 0.0], pose.angles])
    return motion.astype(np.float32)


def _follow(faces: list[Face], last: Face | None) -> Face | None:
    if not faces or last is None:
        return faces[0] if faces else None
    centre = last.landmarks[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - centre)))


def _interpolate(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Fill frames without a face linearly in time: (F, D) rows of the found frames to (T, D)."""
    at, everywhere = np.flatnonzero(found), np.arange(len(found))
    return np.stack([np.interp(everywhere, at, column) for column in rows.T], 1).astype(np.float32)
