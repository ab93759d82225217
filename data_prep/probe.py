"""What is in a video file, before anything is decoded."""

from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from moda.errors import UserError
from moda.media import open_media

# Containers that hold their streams themselves. Playlists (HLS, concat) would make the decoder open
# whatever files or addresses they name, so a text file renamed to .mp4 must not be taken for one.
CONTAINERS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf")
MIN_SIDE = 64  # pixels of the shorter side; no face can be measured in less


@dataclass(frozen=True)
class VideoInfo:
    """width, height: as coded, before rotation; seconds: as the file declares, None if it does not."""

    codec: str
    width: int
    height: int
    seconds: float | None
    has_audio: bool


def probe(path: Path) -> VideoInfo:
    """Open ``path`` and say what it holds.

    Raises UserError with the reason when it is empty, not a video, without an index, or too small.
    """
    if not path.is_file():
        raise UserError("it is not a file, or a link to nothing")
    if path.stat().st_size == 0:
        raise UserError("the file is empty")
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        with open_media(path, options) as container:
            return _describe(container)
    except UnicodeEncodeError:
        raise UserError("the file name is not valid UTF-8; rename it") from None
    except (FFmpegError, OSError) as error:
        raise UserError(_why_not(path, error)) from error


def _describe(container: InputContainer) -> VideoInfo:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UserError("there is no video stream in it")
    stream = streams[0]
    if stream.codec_context is None:
        raise UserError("its video codec is not known to the decoder")
    width, height = stream.codec_context.width, stream.codec_context.height
    if min(width, height) < MIN_SIDE:
        raise UserError(f"its picture is {width} x {height} pixels; at least {MIN_SIDE} are needed")
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:  # what the container says may include sound that goes on after the pictures
        seconds = container.duration / av.time_base if container.duration and not container.streams.audio else None
    return VideoInfo(stream.codec_context.name, width, height, seconds, bool(container.streams.audio))


def _why_not(path: Path, error: Exception) -> str:
    """The decoder says 'invalid data' to everything; the first bytes tell more."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "its index (moov) is missing: the file was truncated or its recording was not finished"
    if head.startswith((b"\x1a\x45\xdf\xa3", b"RIFF")):
        return f"its header is damaged ({getattr(error, 'strerror', None) or error})"
    return "it is not a video file, whatever its name says"
