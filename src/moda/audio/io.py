"""Any sound file, or the sound of any video, as the one waveform everything else works on."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soxr
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError
from moda.media import open_media

MIN_SECONDS = 0.2
SILENCE_PEAK = 1e-3  # -60 dBFS
_GUESSED_DURATION = {"mp3", "aac"}  # formats without an index, whose declared length is an estimate
_GROWTH = 2**22  # samples, 4 minutes
_LARGEST_GAP = 60.0  # seconds of missing sound that are filled; more is a broken time stamp


def load_audio(path: str | Path, *, allow_silent: bool = False, allow_cut: bool = False) -> np.ndarray:
    """Read sound as (N,) float32 in [-1, 1], 16 kHz, the mean of all channels.

    path: wav, flac, mp3, ogg or any other file FFmpeg can decode, at any rate. For a video, sample
    0 belongs to the first frame: sound that starts later is preceded by silence, sound that starts
    earlier is cut, and holes in the time stamps are filled with silence.
    allow_silent: accept sound whose peak stays below -60 dBFS.
    allow_cut: of a file that is cut short or damaged, return what comes before the damage.

    Raises UserError for a file that is missing, empty, not decodable, cut short, without sound,
    silent, or shorter than 0.2 s.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; give a file with sound")
    _refuse_cut_wav(path)
    try:
        with open_media(path) as container:
            waveform = _decode(container, path, allow_cut)
    except (FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be decoded ({reason}); it is corrupt, cut short or not a sound file") from error
    return _checked(waveform, path, allow_silent)


def _decode(container: InputContainer, path: Path, allow_cut: bool) -> np.ndarray:
    """All sound of the file, brought to 16 kHz as it is decoded."""
    if not container.streams.audio:
        raise UserError(f"{path} has no sound track")
    stream = container.streams.audio[0]
    frames = _until_damage(container.decode(stream)) if allow_cut else iter(container.decode(stream))
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path} has a sound track without any sound in it")
    rate = first.sample_rate
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    decoded = 0

    def resampled() -> Iterator[np.ndarray]:
        nonlocal decoded
        for block in _mono_blocks(chain([first], frames), rate, _start_time(container, first), path):
            decoded += len(block)
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    waveform = _joined(resampled())

    if stream.duration is None or stream.time_base is None or container.format.name in _GUESSED_DURATION:
        return waveform
    declared = float(stream.duration * stream.time_base)
    if decoded / rate < 0.98 * declared - 0.5 and not allow_cut:
        raise UserError(f"{path} is cut short: it holds {decoded / rate:.1f} of {declared:.1f} s; get it again")
    if decoded / rate < declared + 0.2:  # the excess is what the codec added to fill its last frame
        return waveform[: round(declared * SAMPLE_RATE)]
    return waveform


def _joined(pieces: Iterator[np.ndarray]) -> np.ndarray:
    """One array of many small ones (n,) float32, which for hours of sound are never all there beside it."""
    whole, length = np.empty(0, np.float32), 0
    for piece in pieces:
        if length + len(piece) > len(whole):
            whole.resize(length + len(piece) + _GROWTH, refcheck=False)  # in place: the system moves pages, not bytes
        whole[length : length + len(piece)] = piece
        length += len(piece)
    whole.resize(length, refcheck=False)
    return whole


def _until_damage(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """``frames`` up to the first that cannot be decoded."""
    with suppress(FFmpegError):
        yield from frames


def _start_time(container: InputContainer, first: av.AudioFrame) -> float:
    """Time in seconds that becomes sample 0: the first picture, or without pictures the first sound."""
    for stream in container.streams.video:
        cover = bool(stream.disposition & Disposition.attached_pic)
        if not cover and stream.start_time is not None and stream.time_base is not None:
            return float(stream.start_time * stream.time_base)
    return first.time or 0.0


def _mono_blocks(frames: Iterator[av.AudioFrame], rate: int, start: float, path: Path) -> Iterator[np.ndarray]:
    """Yield (n,) float32 blocks that follow each other without a gap from ``start`` on."""
    to_float = av.AudioResampler(format="fltp")
    position = 0  # samples yielded or dropped before ``start``
    for frame in frames:
        if frame.sample_rate != rate:
            raise UserError(f"{path} changes from {rate} to {frame.sample_rate} Hz; convert it to one rate")
        for converted in to_float.resample(frame):
            block = converted.to_ndarray().mean(axis=0, dtype=np.float32)  # (channels, n) -> (n,)
            lead = 0 if frame.time is None else round((frame.time - start) * rate) - position
            if lead > _LARGEST_GAP * rate:
                raise UserError(f"{path} has a hole of {lead / rate:.0f} s in its sound; repair its time stamps")
            if lead > 0.02 * rate or (position == 0 and lead > 0):
                yield np.zeros(lead, np.float32)
                position += lead
            elif position == 0 and lead < 0:
                block = block[-lead:]
                if not len(block):
                    continue
            position += len(block)
            yield block


def _checked(waveform: np.ndarray, path: Path, allow_silent: bool) -> np.ndarray:
    seconds = len(waveform) / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise UserError(f"{path} holds {seconds:.2f} s of sound; at least {MIN_SECONDS} s are needed")
    low, high, mean = float(waveform.min()), float(waveform.max()), float(waveform.mean())  # no copy of hours of sound
    if not np.isfinite([low, high, mean]).all():
        raise UserError(f"{path} holds samples that are not numbers; write it again")
    peak = max(high - mean, mean - low)  # a constant offset is silence, too
    if peak < SILENCE_PEAK and not allow_silent:
        level = f"peak {20 * np.log10(peak):.0f} dBFS" if peak > 0 else "every sample is the same"
        raise UserError(f"{path} is silent ({level}); give a file with speech")
    loudest = max(high, -low)
    return waveform / loudest if loudest > 1 else waveform  # resampling overshoots by a little


def _refuse_cut_wav(path: Path) -> None:
    """Decoders take a wav that was cut short for a shorter one; its header says how long it was."""
    with open(path, "rb") as file:
        header = file.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return
    promised, size = int.from_bytes(header[4:8], "little") + 8, path.stat().st_size
    streamed = promised >= 0x7FFFF000  # the placeholder of programs that write to a pipe
    if not streamed and size < 0.99 * promised:
        raise UserError(f"{path} is cut short: it holds {size} of {promised} bytes; get it again")
