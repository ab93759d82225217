"""From the bytes of a sample to a clip: every shape and value checked, nothing copied, nothing ever unpickled."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from moda.data.schema import FEATURE_MEMBERS, ClipRecord, DatasetManifest, check_intensity, emotion_index

Bytes = bytes | memoryview

EXPONENT = np.uint16(0x7C00)  # of a float16; all ones are infinity and NaN


@dataclass(frozen=True)
class Clip:
    """One clip of a data set as it lies in its shard.

    motion: (T, D) float32 in the layout's units. identity: (I,) float32.
    audio: (T, L, C) in the type it was stored in (float16), to keep caches small.
    The arrays may share the memory that the sample was read into.
    """

    record: ClipRecord
    motion: np.ndarray
    identity: np.ndarray
    audio: np.ndarray

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def num_frames(self) -> int:
        return len(self.motion)

    @property
    def nbytes(self) -> int:
        return self.motion.nbytes + self.identity.nbytes + self.audio.nbytes


def decode(key: str, members: Mapping[str, Bytes], manifest: DatasetManifest, split: str) -> Clip:
    """Turn the members of sample ``key`` into a clip; a ValueError says what is wrong with it."""
    missing = [suffix for suffix in FEATURE_MEMBERS if suffix not in members]
    if missing:
        raise ValueError(f"no member {', '.join(missing)}")
    try:
        record = ClipRecord.from_dict(json.loads(bytes(members["json"])))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its json member is not a clip record ({error})") from error
    except UnicodeDecodeError as error:
        raise ValueError("its json member is no text") from error
    if record.key != key or record.split != split:
        raise ValueError(f"its json member says clip {record.key!r} of split {record.split!r}")
    frames, layout = record.num_frames, manifest.layout
    if not isinstance(frames, int) or frames < 1 or record.fps != layout.fps:
        raise ValueError(f"it has {frames} frames at {record.fps} a second, the layout has {layout.fps} a second")
    emotion_index(record.emotion)
    check_intensity(record.emotion_intensity)
    motion = _array(members, "motion.npy", (frames, layout.dim), np.float32)
    identity = _array(members, "identity.npy", (manifest.identity_dim,), np.float32)
    audio = _array(members, "audio.npy", (frames, manifest.audio_layers, manifest.audio_dim))
    return Clip(record, motion, identity, audio)


def _array(
    members: Mapping[str, Bytes], suffix: str, shape: tuple[int, ...], wanted: type[np.floating] | None = None
) -> np.ndarray:
    """The array of an npy member, in the member's own memory where it has the type wanted."""
    content = members[suffix]
    try:
        found, column_major, dtype, start = _npy_header(_header_of(content))
    except Exception as error:  # numpy lets through whatever Python's parser raises for a broken header
        raise ValueError(f"{suffix} cannot be read ({' '.join(str(error).split()):.200})") from error
    if dtype.hasobject:
        raise ValueError(f"{suffix} cannot be read (it holds pickled objects)")
    if found != shape or dtype.kind != "f":
        raise ValueError(f"{suffix} is {found} {dtype}, expected floating point of shape {shape}")
    expected = start + dtype.itemsize * math.prod(shape)
    if len(content) != expected:
        raise ValueError(f"{suffix} cannot be read (it has {len(content)} bytes instead of {expected})")
    array = np.ndarray(shape, dtype, content, start, order="F" if column_major else "C")
    if wanted is not None and dtype != wanted:
        with np.errstate(over="ignore"):  # what the type wanted cannot hold becomes infinite and is refused
            array = array.astype(wanted)
    if not _finite(array):
        raise ValueError(f"{suffix} holds NaN or infinity")
    return array


def _header_of(content: Bytes) -> bytes:
    """The part of an npy file that says what follows it: magic, version, length and dictionary."""
    width = 2 if content[6:7] == b"\x01" else 4  # bytes of the length, in format 1.0 and later
    return bytes(content[: 8 + width + int.from_bytes(content[8 : 8 + width], "little")])


@lru_cache(maxsize=4096)  # as many as there are lengths of clips
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether in Fortran order, type, length of the header), by numpy's own reader."""
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its npy format {version[0]}.{version[1]} is not known")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return *read(stream), stream.tell()


def _finite(array: np.ndarray) -> bool:
    if array.dtype == np.float16:  # numpy converts each element; its bits tell as well, eight times as fast
        return bool(((array.view(np.uint16) & EXPONENT) != EXPONENT).all())
    return bool(np.isfinite(array).all())
