"""Whether the video and the sound of a clip can be played and are as long as its record says."""

import io

import av
import soundfile
from av.error import FFmpegError

from moda.audio.encoder import SAMPLE_RATE


def wrong_video(data: bytes, num_frames: int, fps: int) -> str | None:
    """What is wrong with an mp4 file, None if nothing is found.

    Every frame is counted in the container; the first one is decoded and, from the last key frame on, the last.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.video:
                return "holds no pictures"
            stream = container.streams.video[0]
            if not stream.codec_context:
                return "holds pictures in a form that is not known"
            stream.codec_context.options = {"err_detect": "explode"}  # by default damage is painted over
            times = sorted(packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None)
            if len(times) != num_frames:
                return f"has {len(times)} frames, its record says {num_frames}"
            if stream.average_rate != fps:
                return f"has {stream.average_rate} frames a second, its record says {fps}"
            for name, time in (("first", times[0]), ("last", times[-1])):
                container.seek(time, stream=stream)
                if all(frame.pts != time for frame in container.decode(stream)):
                    return f"does not give its {name} frame"
    except FFmpegError as error:
        return f"cannot be decoded ({error.strerror})"
    except UnicodeDecodeError:
        return "cannot be decoded (what describes it is damaged)"
    return None


def wrong_sound(data: bytes, num_frames: int, fps: int) -> str | None:
    """What is wrong with a flac file, None if all of it decodes to as much sound as ``num_frames`` pictures last."""
    try:
        waveform, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        return f"cannot be decoded ({error.error_string})"
    if rate != SAMPLE_RATE or waveform.shape[1] != 1:
        return f"has {rate} Hz and {waveform.shape[1]} channels, expected 16 kHz mono"
    if len(waveform) * fps != num_frames * SAMPLE_RATE:
        return f"has {len(waveform)} samples, its record's {num_frames} frames are {num_frames * SAMPLE_RATE // fps}"
    return None
