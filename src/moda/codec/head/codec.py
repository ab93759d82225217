"""The ``head`` codec: 52 ARKit blendshapes and head pose, measured by MediaPipe, rendered on a CC0 head."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from moda.codec.base import EncodedClip, Portrait
from moda.codec.head.correspondence import load_landmarks
from moda.codec.head.fit import fit_head
from moda.codec.head.identity import Head, random_head
from moda.codec.head.pitch import PITCH_FILE
from moda.codec.head.pose import KEY_LANDMARKS, measure_pose
from moda.codec.head.reading import Reading
from moda.codec.head.renderer import HeadRenderer, rest_motion
from moda.errors import UserError
from moda.face.landmarker import Face, FaceLandmarker
from moda.face.portrait import named_head, read_image
from moda.files import sha256_of
from moda.motion.layout import get_layout
from moda.weights import find

CODEC_VERSION = 2  # raise when the same frames would give other numbers
_TREMOR = 0.02  # what the landmarker's blendshapes waver by on a still face
_INNER_LIPS = np.array([(82, 87), (13, 14), (312, 317)])  # upper and lower landmark
_LAYOUT = get_layout("head59")
_GROUPS = tuple(_LAYOUT.groups[name] for name in ("expression", "scale", "translation", "rotation"))
_EXPRESSION = _LAYOUT.groups["expression"]
_JAW_OPEN = _LAYOUT.index("jawOpen")


@dataclass(frozen=True, eq=False)
class HeadSource:
    """What ``HeadCodec.decode`` renders: a head, and the motion (59,) measured on its neutral face."""

    head: Head
    neutral: np.ndarray


class HeadCodec:
    """Motion codec of layout head59: [52 blendshapes | scale, tx, ty, tz | pitch, yaw, roll].

    Motion is what is measured: MediaPipe's blendshapes in [0, 1], jawOpen corrected so that the lips
    are as far apart as the landmarks see them, and the pose of ``pose.measure_pose``. Both read
    something of their own into every face (raised brows, a pucker, a degree of pitch), so
    ``decode`` takes for neutral what it measures on the portrait's own neutral face: decode undoes
    encode, and ``Portrait.rest`` renders as the neutral face. True ARKit curves, without that, are
    what ``HeadRenderer`` renders.
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
            sha256_of(PITCH_FILE),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def encode(self, frames: Iterable[np.ndarray]) -> EncodedClip:
        """Measure square uint8 RGB frames (S, S, 3); see ``MotionCodec.encode``.

        Of several faces the one nearest to where the last one was is followed, at first the largest.
        Raises UserError for an empty clip or when fewer than half of the frames show a face.
        """
        reading = self.reading()
        for frame in frames:
            reading.add(frame)
        return reading.finish()

    def reading(self) -> Reading:
        """``encode`` for frames that come one by one."""
        return Reading(self.landmarker, self._motion)

    def portrait(self, source: Path | str) -> Portrait:
        """A head from an image, or the named identity ``head:N`` (N >= 0 seeds ``random_head``).

        ``rest`` is the neutral face, looking at the camera from the middle of the image.
        """
        if (number := named_head(str(source))) is not None:
            return self._sources(number)
        return self.portrait_of(fit_head(read_image(Path(source)), self.landmarker, str(source)))

    def portrait_of(self, head: Head) -> Portrait:
        """Prepare a head: measure what the landmarker sees on its neutral face."""
        try:
            measured = self.encode([self.renderer.render(head, rest_motion())])
        except UserError as error:
            raise UserError("no face can be measured on this head; choose another portrait") from error
        rest = measured.motion[0]
        return Portrait(measured.identity, rest, HeadSource(head, rest.copy()))

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
        """(52,) opening of the lips that each blendshape at 1 adds, over the width of the mouth at rest."""
        template = load_landmarks().template
        return self._opening / np.linalg.norm(template[61] - template[291])

    @cached_property
    def _opening(self) -> np.ndarray:
        """(52,) height between the inner lips, in head units, that each blendshape at 1 adds."""
        upper, lower = load_landmarks().vertices[_INNER_LIPS.T]
        expressions = self.renderer.mesh.expressions
        return (expressions[:, lower, 1] - expressions[:, upper, 1]).mean(1)

    def _motion(self, face: Face, points: np.ndarray, unposed: np.ndarray) -> np.ndarray:
        """(59,) of a face, from its landmarks (478, 3) in the image and unposed."""
        blendshapes = face.blendshapes.astype(np.float64)
        opening = _lip_height(unposed) - _lip_height(load_landmarks().template)
        missing = (opening - blendshapes @ self._opening) / self._opening[_JAW_OPEN]
        blendshapes[_JAW_OPEN] = np.clip(blendshapes[_JAW_OPEN] + missing, 0, 1)
        pose = measure_pose(points)
        return np.array([*blendshapes, pose.scale, *pose.translation, 0.0, *pose.angles], np.float32)

    def _named_portrait(self, seed: int) -> Portrait:
        return self.portrait_of(random_head(seed))


def calibrate(motion: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Measured motion (59,) to what to render (59,), given what the neutral face at rest measures.

    The neutral reading of a blendshape becomes 0 and 1 stays 1; pose is taken relative to it.
    """
    blendshapes, (scale,), translation, angles = (motion[part] for part in _GROUPS)
    blendshapes_0, (scale_0,), translation_0, angles_0 = (neutral[part] for part in _GROUPS)
    floor = np.minimum(blendshapes_0 + _TREMOR, 0.9)
    expression = np.clip((blendshapes - floor) / (1 - floor), 0, 1)
    size = scale / scale_0
    return np.array([*expression, size, *(translation - size * translation_0), *(angles - angles_0)], np.float32)


def _lip_height(unposed: np.ndarray) -> float:
    """Height between the inner lips of unposed landmarks (478, 3), in head units."""
    upper, lower = unposed[_INNER_LIPS.T, 1]
    return float((lower - upper).mean())
