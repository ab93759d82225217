"""Videos that a reader needs beside the methods': what the container, the codec and no motion at all score.

Each is made from a video of the reference, once: its name holds a hash of everything it depends on.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile

from moda.audio.encoder import SAMPLE_RATE
from moda.build import build
from moda.codec.base import MotionCodec
from moda.errors import UserError
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.boxes import find_face_box
from moda.eval.videos.reading.source import VideoSource, open_source
from moda.eval.videos.reading.view import is_square
from moda.face.crop import crop
from moda.files import atomic_path
from moda.generation.video import VideoWriter

VERSION = 1  # raise when the same video would give another control
CRF = 18  # what moda generate writes with


@dataclass(frozen=True)
class Control:
    """One to be made. kind: a key of ``KINDS``; video, sound: the reference's.

    codec_spec: of the ceiling; margin, max_frames: of its crop, where frames are not square already.
    """

    kind: str
    out: Path
    video: Path
    sound: Path | None
    codec_spec: Mapping[str, Any] | None = None
    margin: float = 1.6
    max_frames: int = 300


def plan_control(
    kind: str,
    folder: Path,
    key: str,
    video: Path,
    sound: Path | None,
    protocol: Protocol,
    codec: MotionCodec | None = None,
    codec_spec: Mapping[str, Any] | None = None,
) -> Control:
    """Where the control of this video lies or will lie. Raises UserError for a video that cannot be read."""
    source = open_source(video, sound)
    made_from: list[Any] = [VERSION, kind, source.sha256, source.sound_sha256, CRF]
    if codec is not None:
        made_from += [codec.fingerprint, codec.size, protocol.margin, protocol.max_frames, dict(codec_spec or {})]
    name = f"{key}-{sha256(json.dumps(made_from).encode()).hexdigest()[:12]}.mp4"
    return Control(kind, folder / kind / name, video, sound, codec_spec, protocol.margin, protocol.max_frames)


def make_control(control: Control) -> None:
    """Make it, unless it is there. Raises UserError where it cannot be made."""
    if control.out.is_file():
        return
    source = open_source(control.video, control.sound)
    frames = KINDS[control.kind](source, control)
    first = next(frames, None)
    if first is None:
        raise UserError("it has no frames")
    height, width = (side - side % 2 for side in first.shape[:2])
    sound = source.audio().astype(np.float32) / 32768
    with VideoWriter(control.out, (height, width), audio=sound, sample_rate=SAMPLE_RATE, crf=CRF) as writer:
        for frame in chain([first], frames):
            writer.write(frame[:height, :width])


def _reencoded(source: VideoSource, control: Control) -> Iterator[np.ndarray]:
    return source.frames()


def _static(source: VideoSource, control: Control) -> Iterator[np.ndarray]:
    return repeat(next(source.frames()), source.num_frames)


def _codec_ceiling(source: VideoSource, control: Control) -> Iterator[np.ndarray]:
    """The reference's motion, read and rendered by the codec on the face of its first frame."""
    assert control.codec_spec is not None
    codec = _codec(json.dumps(dict(control.codec_spec), sort_keys=True))
    first = next(_faces(source, control))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "first.png"
        cv2.imwrite(str(image), first[:, :, ::-1])
        portrait = codec.portrait(image)
    return codec.decode(portrait, codec.encode(islice(_faces(source, control), control.max_frames)).motion)


def _faces(source: VideoSource, control: Control) -> Iterator[np.ndarray]:
    """Square frames as they are, others cropped to the face at full resolution."""
    if is_square(source.size):
        side = min(source.size)
        return (frame[:side, :side] for frame in source.frames())
    box = find_face_box(source, control.margin, control.max_frames)
    return (crop(frame, box, box.side) for frame in source.frames())


KINDS: dict[str, Callable[[VideoSource, Control], Iterator[np.ndarray]]] = {
    "reencoded": _reencoded,
    "codec_ceiling": _codec_ceiling,
    "static": _static,
}


@lru_cache(maxsize=1)
def _codec(spec: str) -> MotionCodec:
    """Built once a process."""
    return build(json.loads(spec))


def other_sound(sound: np.ndarray, num_frames: int) -> np.ndarray:
    """(N,) int16 of another clip as (640 num_frames,): repeated where it is shorter, cut where it is longer."""
    return np.resize(sound, num_frames * SAMPLE_RATE // 25)


def write_other_sound(folder: Path, key: str, giver: VideoSource, num_frames: int) -> Path:
    """The giver's sound at the length of the receiver as a wav file, once."""
    made_from = f"{VERSION} {giver.sound_sha256} {num_frames}"
    path = folder / "mismatched_audio" / f"{key}-{sha256(made_from.encode()).hexdigest()[:12]}.wav"
    if not path.is_file():
        with atomic_path(path) as temporary:
            soundfile.write(temporary, other_sound(giver.audio(), num_frames), SAMPLE_RATE, subtype="PCM_16")
    return path
