"""Reading the sound and the pictures of clips from the video shards, by key."""

import io
import tarfile
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import soundfile
from av.error import FFmpegError

from moda.audio.encoder import SAMPLE_RATE
from moda.data.schema import VIDEO_MEMBERS, DatasetManifest, check_key
from moda.errors import UserError


def read_sounds(root: Path, manifest: DatasetManifest, split: str, keys: Collection[str]) -> dict[str, np.ndarray]:
    """Sound of the clips ``keys``, (N,) float32 at 16 kHz each; a clip without sound in its shard is absent."""
    return {key: _decode_sound(key, data) for key, data in _members(root, manifest, split, keys, "flac")}


def read_video(root: Path, manifest: DatasetManifest, split: str, key: str) -> bytes | None:
    """The mp4 file of one clip, None when the data set holds none."""
    return next((data for _, data in _members(root, manifest, split, {key}, "mp4")), None)


def iterate_frames(data: bytes) -> Iterator[np.ndarray]:
    """Yield the frames of an mp4 file as uint8 RGB (H, W, 3)."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (FFmpegError, IndexError) as error:
        raise UserError(f"a clip's video in the data set cannot be decoded ({error}); prepare it again") from error


def pick_frames(data: bytes, indices: Collection[int]) -> dict[int, np.ndarray]:
    """The frames ``indices`` of an mp4 file, by index; those after the end are absent."""
    wanted = set(indices)
    frames = islice(enumerate(iterate_frames(data)), max(wanted) + 1)
    return {index: frame for index, frame in frames if index in wanted}


def _members(
    root: Path, manifest: DatasetManifest, split: str, keys: Collection[str], suffix: str
) -> Iterator[tuple[str, bytes]]:
    """Yield (key, bytes) of the members KEY.suffix; the rest of a shard is skipped over, and no more are opened
    than it takes to find all keys."""
    wanted = set(keys)
    for shard in manifest.shards_of(split):
        if shard.video is None or not wanted:
            continue
        path = root / shard.video
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{root} names the shard {shard.video!r} outside the data set; refused")
        if not path.is_file():
            raise UserError(f"shard {path} is missing; copy it again or prepare the data set again")
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    key = _check_member(member, path)
                    if key in wanted and member.name == f"{key}.{suffix}":
                        stream = archive.extractfile(member)
                        assert stream is not None  # a regular file, checked
                        wanted.remove(key)
                        yield key, stream.read()
                    if not wanted:
                        break
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"shard {path} is damaged ({error}); copy it again or prepare it again") from error


def _check_member(member: tarfile.TarInfo, path: Path) -> str:
    key, _, suffix = member.name.partition(".")
    if not member.isreg() or suffix not in VIDEO_MEMBERS:
        raise UserError(f"shard {path} holds the member {member.name!r}; only {', '.join(VIDEO_MEMBERS)} are read")
    return check_key(key)


def _decode_sound(key: str, data: bytes) -> np.ndarray:
    try:
        waveform, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{key}.flac in the data set cannot be decoded ({error}); prepare it again") from error
    if rate != SAMPLE_RATE or waveform.shape[1] != 1:
        raise UserError(f"{key}.flac has {rate} Hz and {waveform.shape[1]} channels, expected 16 kHz mono")
    return waveform[:, 0]
