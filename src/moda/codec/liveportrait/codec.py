"""The ``liveportrait`` codec: implicit keypoints, measured and rendered by LivePortrait's networks."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from moda.codec.base import EncodedClip, Portrait
from moda.codec.liveportrait.crop import INPUT, SIZE, eye_ratios, face_crop, lip_ratio, shrink
from moda.codec.liveportrait.driving import Driving
from moda.codec.liveportrait.keypoints import KEYPOINTS, LAYOUT, FaceMotion, lip_aperture, motion_of
from moda.codec.liveportrait.measuring import Measurement
from moda.codec.liveportrait.networks import Networks
from moda.codec.liveportrait.source import Ratios, Source, driven_keypoints
from moda.devices import exact_float32
from moda.errors import UserError
from moda.face.landmarker import FaceLandmarker
from moda.face.portrait import largest_face, named_head, read_image
from moda.files import sha256_of
from moda.weights import find

CODEC_VERSION = 1  # raise when the same frames would give other numbers
LONGEST = 1280  # pixels of a portrait's longer side
RENDERED_AT_ONCE = {"cuda": 8}  # frames; 1 elsewhere, where more at once is no faster


class LivePortraitCodec(Networks):
    """Motion codec of layout liveportrait70: [21 offsets x 3 | scale | tx, ty, tz | pitch, yaw, roll].

    Motion is what the motion extractor measures on the crop as it is given, angles as the expectation over
    its bins, in degrees; tz, which no renderer reads, is 0. The identity is the canonical keypoints (63,).
    The face is found with MediaPipe, which also tells how far eyes and lips are open.

    directory, device, precision, compile: see ``Networks``. size: side of the frames; 512 is what the
    networks render. batch: frames rendered at once, None for what suits the device. driving: a ``Driving`` or its settings.
    Raises UserError for a file that is missing; ``from_pretrained`` reads them all at once.
    """

    name = "liveportrait"
    layout = LAYOUT
    identity_dim = 3 * KEYPOINTS

    def __init__(
        self,
        directory: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
        size: int = SIZE,
        batch: int | None = None,
        driving: Driving | Mapping[str, Any] | None = None,
    ):
        super().__init__(directory, device, precision, compile)
        if batch is not None and batch < 1:
            raise UserError(f"batch is {batch}; give 1 frame or more")
        self.size = size
        self.batch = batch or RENDERED_AT_ONCE.get(self.device.type, 1)
        self.driving = driving if isinstance(driving, Driving) else Driving.of(driving or {})

    @property
    def unshown(self) -> tuple[str, ...]:
        """See ``DrivesInPart``: what the driving leaves to the portrait."""
        return self.driving.unshown

    @classmethod
    def from_pretrained(cls, directory: str | Path, device: str = "cpu", **settings) -> "LivePortraitCodec":
        """The codec with every network loaded from a folder of the official layout, .pth or .safetensors.

        Raises UserError naming the file, and the key, that is not the official one.
        """
        codec = cls(directory, device, **settings)
        codec.load_all()
        return codec

    @cached_property
    def landmarker(self) -> FaceLandmarker:
        return FaceLandmarker()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the networks' weights, the landmarker's model and the code's version."""
        parts = [f"liveportrait {CODEC_VERSION}", self.weights_digest(), sha256_of(find("face_landmarker"))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def encode(self, frames: Iterable[np.ndarray]) -> EncodedClip:
        """Measure square uint8 RGB crops (S, S, 3) of one fixed box; see ``MotionCodec.encode``.

        ``raw`` holds the motion extractor's heads (pitch, yaw, roll: logits), eye_ratios (T, 2) and
        lip_ratio (T, 1). Of several faces the one nearest to where the last one was is followed.
        """
        measurement = Measurement(self.landmarker, self.heads)
        for frame in frames:
            measurement.add(frame)
        return measurement.finish()

    def heads(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 RGB (B, 256, 256, 3) to the motion extractor's heads, each (B, width) float32.

        Full float32 on any device, so that a data set does not depend on the machine that made it.
        """
        with torch.inference_mode(), exact_float32(self.device):
            heads = self.motion_extractor(self._tensor(images))
        return {name: value.cpu().numpy() for name, value in heads.items()}

    def portrait(self, source: Path | str) -> Portrait:
        """A portrait from an image file, or ``head:N``, the picture of a made-up head (N >= 0).

        ``rest`` is the motion that the picture itself shows.
        """
        number = named_head(str(source), self.name)
        picture = read_image(Path(source)) if number is None else _rendered_head(number)
        return self.portrait_of(picture, str(source))

    def portrait_of(self, picture: np.ndarray, name: str = "image") -> Portrait:
        """``portrait`` from a picture (H, W, 3) uint8 RGB of any size; the largest face in it is used."""
        picture = _limited(picture)
        face = largest_face(picture, self.landmarker, name)
        crop = face_crop(face.landmarks)
        small = shrink(crop.cut(picture))[None]
        heads = self.heads(small)
        with torch.inference_mode():
            feature = self.appearance_feature_extractor(self._tensor(small))
        rest, canonical = motion_of(heads), heads["kp"][0]
        openings = eye_ratios(face.landmarks), lip_ratio(face.landmarks)
        source = Source(
            feature, canonical.reshape(KEYPOINTS, 3), FaceMotion.of(rest), *openings, picture=picture, crop=crop
        )
        return Portrait(canonical, rest[0], source)

    def decode(
        self,
        portrait: Portrait,
        motion: np.ndarray,
        *,
        driving: Driving | None = None,
        eye_ratio: Ratios = None,
        lip_ratio: Ratios = None,
    ) -> Iterator[np.ndarray]:
        """Render motion (T, 70) frame by frame: uint8 RGB (size, size, 3), each as soon as it is made.

        driving: instead of the codec's own. eye_ratio, lip_ratio: retargeting, a number or (T,), instead of
        the driving's. Frames do not depend on each other, nor on ``batch`` but for the last bits of
        floating-point sums: in float32 a pixel then differs by 1 of 255 at most.
        """
        source, driving = _source(portrait), driving or self.driving
        motion = self.layout.check(np.atleast_2d(motion))
        if not len(motion):
            return iter(())
        start = motion[:1] if portrait.start is None else self.layout.check(portrait.start, "start")[None]
        keypoints = driven_keypoints(
            self,
            source,
            FaceMotion.of(motion),
            FaceMotion.of(start),
            driving,
            driving.eye_ratio if eye_ratio is None else eye_ratio,
            driving.lip_ratio if lip_ratio is None else lip_ratio,
        )
        return self._frames(source, keypoints)

    def picture_size(self, portrait: Portrait) -> tuple[int, int]:
        """(height, width) of the portrait's picture, even; longer ones than 1280 pixels were made smaller."""
        height, width = _source(portrait).picture.shape[:2]
        return height, width

    def paste_back(self, portrait: Portrait, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the whole picture (H, W, 3) with each rendered frame in its place, faded in along its edge."""
        paster = _source(portrait).paster
        for frame in frames:
            yield paster.paste(_resized(frame, paster.size))

    def lip_aperture(self, motion: np.ndarray) -> np.ndarray:
        """(..., 70) motion to (...); see ``keypoints.lip_aperture`` for how it is measured."""
        return lip_aperture(self.layout.check(np.asarray(motion)))

    def _frames(self, source: Source, keypoints: Tensor) -> Iterator[np.ndarray]:
        """On a GPU the next batch is under way while one is handed out."""
        ahead = int(self.device.type == "cuda")
        batches: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
        own = torch.from_numpy(source.keypoints).to(self.device)  # once: the copy waits for the device

        def ready() -> Iterator[np.ndarray]:
            frames, done = batches.popleft()
            if done is not None:
                done.synchronize()
            for frame in frames.numpy():
                yield _resized(frame, self.size)

        for batch in keypoints.split(self.batch):
            batches.append(self._render(source.feature, own, batch))
            if len(batches) > ahead:
                yield from ready()
        while batches:
            yield from ready()

    @torch.inference_mode()
    def _render(self, feature: Tensor, own: Tensor, keypoints: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """uint8 (B, 512, 512, 3) on the CPU, and the event after which a GPU has written it.

        own: keypoints of the portrait that ``feature`` is of; keypoints: (B, 21, 3) wanted.
        """
        count = len(keypoints)
        if self.compiled and count < self.batch:  # one shape, compiled once
            keypoints = torch.cat([keypoints, keypoints[-1:].expand(self.batch - count, -1, -1)])
        warped = self.warping_module(feature, kp_driving=keypoints, kp_source=own)
        images = self.spade_generator(warped["out"])[:count]
        pixels = (images.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()
        if self.device.type != "cuda":
            return pixels, None
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(pixels, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        return host, done

    def _tensor(self, images: np.ndarray) -> Tensor:
        """uint8 RGB (B, 256, 256, 3) to float32 in [0, 1] (B, 3, 256, 256) on the device."""
        assert images.dtype == np.uint8 and images.shape[1:] == (INPUT, INPUT, 3), images.shape
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255


def _source(portrait: Portrait) -> Source:
    if not isinstance(portrait.source, Source):
        raise UserError("this portrait was made by another codec; make it with the liveportrait codec")
    return portrait.source


def _limited(picture: np.ndarray) -> np.ndarray:
    """At most ``LONGEST`` pixels on the longer side, both sides even."""
    factor = LONGEST / max(picture.shape[:2])
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    height, width = (side - side % 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _resized(frame: np.ndarray, size: int) -> np.ndarray:
    if len(frame) == size:
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if size < len(frame) else cv2.INTER_CUBIC)


def _rendered_head(number: int) -> np.ndarray:
    """A made-up head of the head codec as a picture (512, 512, 3)."""
    from moda.codec.head.identity import random_head
    from moda.codec.head.renderer import HeadRenderer, rest_motion

    return HeadRenderer(SIZE, 2).render(random_head(number), rest_motion())
