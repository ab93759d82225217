"""From a portrait and speech to a video: the parts of an export put together.

Everything streams: motion is sampled window by window, each frame is rendered and written as soon as
its motion is final, so memory does not grow with the length of the speech (but for the sound itself
and its features, a few hundred bytes a frame).
"""

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moda.audio.encoder import SAMPLE_RATE, SpeechEncoder, frames_of
from moda.audio.io import load_audio
from moda.build import build, with_settings
from moda.codec.base import DrivesInPart, MotionCodec, PastesBack, Portrait
from moda.devices import resolve_device
from moda.errors import UserError
from moda.files import atomic_path
from moda.flow.guidance import Guidance, Scale
from moda.generation.controls import read_controls
from moda.generation.emotion import NONE, Emotion, Timeline, check_within, parse_emotions, timeline_of
from moda.generation.request import Controls
from moda.generation.sampler import MotionSampler
from moda.generation.video import VideoWriter
from moda.interop.export import Export, load_export
from moda.progress import progress


@dataclass(frozen=True)
class Generator:
    """What generation needs of a run, ready to use: the network's sampler and the two frozen translators."""

    sampler: MotionSampler
    codec: MotionCodec
    encoder: SpeechEncoder


@dataclass(frozen=True)
class Generated:
    """What ``generate`` made. Times are wall-clock seconds; loading is left out of them."""

    path: Path
    num_frames: int
    duration: float  # seconds of video
    motion_seconds: float  # speech features and sampling
    render_seconds: float  # rendering and writing

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of video; below 1 is faster than real time."""
        return (self.motion_seconds + self.render_seconds) / self.duration


def load_generator(
    checkpoint: str | Path, *, device: str = "auto", size: int | None = None, codec: Mapping[str, Any] | None = None
) -> Generator:
    """Build sampler, codec and speech encoder of a run or export folder.

    device: of the sampler and of a codec that runs on one. size: side of the frames in pixels instead of
    the codec's own. codec: other settings of the codec. Raises UserError when the export is missing or
    incomplete, or when codec or encoder are not those that made the training data.
    """
    export = load_export(checkpoint)
    spec = dict(export.codec_spec) | ({} if size is None else {"size": size})
    if "device" in spec and device != "auto":
        spec["device"] = device
    if codec:
        spec = with_settings(spec, codec)
    return Generator(load_sampler(export, device), load_codec(spec, export.codec_fingerprint), load_encoder(export))


def load_sampler(export: Export, device: str = "auto") -> MotionSampler:
    """The export's sampler on a device; UserError for a run that trained a motion VAE alone."""
    place = resolve_device(device)
    sampler = export.sampler()
    sampler.network.to(place).eval()
    if sampler.vae is not None:
        sampler.vae.to(place).eval()
    return sampler


def load_codec(spec: dict, fingerprint: str) -> MotionCodec:
    """Build a codec and make sure that it is the one ``fingerprint`` names."""
    codec = build(spec)
    if codec.fingerprint != fingerprint:
        raise UserError(
            f"the {codec.name} codec here ({codec.fingerprint[:12]}) is not the one that the training data was made "
            f"with ({fingerprint[:12]}); use the version of moda and the model files it was made with, or prepare and train again"
        )
    return codec


def load_encoder(export: Export) -> SpeechEncoder:
    """Build the export's speech encoder and make sure that it is the one the training data was made with."""
    encoder = build(dict(export.audio_spec))
    if encoder.fingerprint != export.audio_fingerprint:
        raise UserError(
            f"the {encoder.name} speech encoder here ({encoder.fingerprint[:12]}) is not the one that the training "
            f"data was made with ({export.audio_fingerprint[:12]}); use the version of moda and the model files it was made with, "
            "or prepare and train again"
        )
    return encoder


def sample_motion(
    generator: Generator,
    portrait: Portrait,
    waveform: np.ndarray,
    *,
    emotion: int | Emotion | Timeline,
    seed: int = 0,
    steps: int | None = None,
    guidance: Scale | None = None,
    controls: Controls | None = None,
) -> Iterator[np.ndarray]:
    """Yield motion (n, D) float32 for (N,) speech at 16 kHz as it is made, ``frames_of(N)`` frames in all.

    emotion: class index, ``len(EMOTIONS)`` for none; an emotion with its intensity, or a timeline of them.
    controls: signals to obey (``read_controls``).
    """
    sampler, length = generator.sampler, frames_of(len(waveform))
    # the last window sees silence after the end, as it would in a longer recording
    silence = sampler.window * sampler.stride + sampler.published.tail(sampler.statistics.layout.fps)
    features = generator.encoder.encode(waveform, length + silence)
    yield from sampler.sample(
        features, portrait.identity, emotion, portrait.rest,
        seed=seed, steps=steps, guidance=guidance, length=length, controls=controls,
    )  # fmt: skip


def render(codec: MotionCodec, portrait: Portrait, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield one uint8 RGB (size, size, 3) frame for each row of the motion chunks (n, D), as they come.

    The motion was made for this portrait and begins at its rest: where a codec takes it as a change, it is
    one since then, and all that was made is shown.
    """
    portrait = replace(portrait, start=portrait.rest)
    for chunk in chunks:
        yield from codec.decode(portrait, chunk)


def generate(
    checkpoint: str | Path,
    portrait: str | Path,
    audio: str | Path,
    out: str | Path,
    *,
    emotion: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: Scale | None = None,
    size: int | None = None,
    paste_back: bool = False,
    codec: Mapping[str, Any] | None = None,
    controls: str | Path | None = None,
    motion_file: str | Path | None = None,
    device: str = "auto",
    show_progress: bool = True,
) -> Generated:
    """Animate ``portrait`` with the speech in ``audio`` and write the video ``out`` (.mp4, H.264 and AAC).

    checkpoint: run or export folder. portrait: image file or named identity of the codec (``head:7``).
    emotion: as ``moda.generation.emotion.parse_emotions`` reads it; None leaves it open. controls: file of
    signals to obey (``moda.generation.controls``). steps, guidance: of the flow solver, by default the run's own.
    paste_back: show the whole picture of the portrait, with the rendered face in its place. codec: settings of the
    codec other than the run's, as ``{"driving": {"mode": "relative"}}``. motion_file: where to keep the motion as
    well (.npz).
    Every input is checked before the slow part; ``out`` appears when it is whole. Raises UserError.
    """
    emotions = timeline_of(NONE) if emotion is None else parse_emotions(emotion)
    check_sampling(seed, steps, guidance, size)
    if size is not None and paste_back:
        raise UserError("size does nothing beside paste_back, which shows the picture at its own size; drop one")
    out = check_output(out, ".mp4", inputs=(audio, portrait))
    motion_path = None if motion_file is None else check_output(motion_file, ".npz", inputs=(audio, portrait))
    waveform = load_audio(audio)
    check_within(emotions, len(waveform) / SAMPLE_RATE)
    generator = load_generator(checkpoint, device=device, size=size, codec=codec)
    if emotion is not None and "emotion" in generator.sampler.network.without:
        raise UserError(f"{checkpoint} was trained without emotions (model.network.without); leave out {emotion}")
    generator.sampler.flow.plan(steps, guidance)  # refused now and not after the sound is encoded
    renderer = generator.codec
    asked = None if controls is None else _controls(controls, generator, checkpoint, len(waveform))
    face = renderer.portrait(portrait)
    chunks = sample_motion(
        generator, face, waveform, emotion=emotions, seed=seed, steps=steps, guidance=guidance, controls=asked
    )
    total, fps = frames_of(len(waveform)), renderer.layout.fps
    watch = _Stopwatch(chunks, keep=motion_path is not None)
    began = time.perf_counter()
    frames, shape = render(renderer, face, watch), (renderer.size, renderer.size)
    if paste_back:
        if not isinstance(renderer, PastesBack):
            raise UserError(f"the {renderer.name} codec renders no part of a picture; leave paste_back out")
        frames, shape = renderer.paste_back(face, frames), renderer.picture_size(face)
    shown = progress("generating", total, "frames") if show_progress else nullcontext(_silent)
    with VideoWriter(out, shape, fps, waveform, SAMPLE_RATE) as writer, shown as advance:
        for count, frame in enumerate(frames, 1):
            writer.write(frame)
            advance(1, f"{count / (time.perf_counter() - began):.0f} frames/s")
    wall = time.perf_counter() - began
    if motion_path is not None:
        save_motion(motion_path, np.concatenate(watch.kept), face, renderer)
    return Generated(out, total, total / fps, watch.seconds, wall - watch.seconds)


def _controls(path: str | Path, generator: Generator, checkpoint: str | Path, samples: int) -> Controls:
    space, codec = generator.sampler.controls, generator.codec
    if space is None:
        raise UserError(
            f"{checkpoint} was trained without controls and cannot obey {path}; train with model.controls=[pose,gaze,distance]"
        )
    asked = read_controls(path, space, frames_of(samples))
    unseen = [name for name in asked if isinstance(codec, DrivesInPart) and name in codec.unshown]
    if unseen:
        warnings.warn(
            f"{', '.join(unseen)} of {path} will not be seen: as its driving is set, the {codec.name} codec keeps the "
            "portrait's own; relative driving of the whole face shows it (--codec driving.mode=relative)",
            stacklevel=3,
        )
    return asked


def _silent(count: int = 1, note: str = "") -> None:
    """Progress that nobody wants to see."""


def check_sampling(seed: int, steps: int | None, guidance: Scale | None, size: int | None = None) -> None:
    """Refuse settings that no sampler or renderer can follow."""
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed is {seed}; give a whole number from 0")
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise UserError(f"steps is {steps}; the flow needs a whole number, at least 1")
    if guidance is not None:
        Guidance(dict(guidance) if isinstance(guidance, Mapping) else {"all conditions": guidance})
    if size is not None and (size % 2 or not 64 <= size <= 2048):
        raise UserError(f"size is {size}; give an even number of pixels from 64 to 2048")


def check_output(path: str | Path, suffix: str, inputs: Iterable[str | Path] = ()) -> Path:
    """Return ``path`` if a file ending in ``suffix`` can be written there; its folder is made."""
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise UserError(f"cannot write {path}: the name must end in {suffix}")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if any(path.resolve() == Path(source).resolve() for source in inputs):
        raise UserError(f"cannot write {path}: it is one of the inputs; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path.parent}: {error.strerror}; choose another place") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write into {path.parent}: permission denied; choose another place")
    return path


def save_motion(path: Path, motion: np.ndarray, portrait: Portrait, codec: MotionCodec) -> None:
    """Write motion (T, D) float32 with identity (I,), rest (D,), layout name and frame rate as .npz."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            motion=motion,
            identity=portrait.identity,
            rest=portrait.rest,
            layout=codec.layout.name,
            fps=codec.layout.fps,
        )


class _Stopwatch:
    """Passes motion chunks on, noting the time it took to make them and, if asked, the chunks themselves."""

    def __init__(self, chunks: Iterator[np.ndarray], keep: bool):
        self.seconds, self.kept = 0.0, []
        self._chunks, self._keep = chunks, keep

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            began = time.perf_counter()
            chunk = next(self._chunks, None)
            self.seconds += time.perf_counter() - began
            if chunk is None:
                return
            if self._keep:
                self.kept.append(chunk)
            yield chunk
