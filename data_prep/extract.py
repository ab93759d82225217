"""One video to its clips: frames, crop, motion, identity and speech features, written to a folder."""

import errno
import io
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import cv2
import numpy as np
import soundfile

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, SpeechEncoder
from moda.audio.io import SILENCE_PEAK, load_audio
from moda.build import build
from moda.codec.base import MotionCodec
from moda.data_prep.clips import segment, split
from moda.data_prep.decode import DecordFailure, FrameReader
from moda.data_prep.patient import PatientReader
from moda.data_prep.probe import VideoInfo, probe
from moda.data_prep.settings import FPS, PrepareSettings
from moda.data_prep.sources import Source, printable
from moda.data_prep.track import Detector, Track, follow, main_tracks
from moda.errors import UserError
from moda.face.crop import crop, crop_box
from moda.generation.video import VideoWriter

Reader: TypeAlias = FrameReader | PatientReader

THUMBNAIL = 128  # pixels


@dataclass(frozen=True)
class ClipItem:
    """A clip in the working folder: KEY.npz, KEY.mp4, KEY.flac and KEY.jpg lie beside its item.json."""

    key: str
    start: int  # frame of the video
    num_frames: int
    crop: tuple[float, float, float]
    quality: dict[str, float]
    notes: list[str]


@dataclass
class VideoItem:
    """What became of one video. ``rejected`` is the reason when there is no clip."""

    clips: list[ClipItem] = field(default_factory=list)
    rejected: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of work, by stage
    length: float = 0.0  # seconds of video that were read
    file_state: str = ""  # size and time of change of the file
    sha256: str = ""  # of its content

    @property
    def reason(self) -> str:
        """Why there is no clip, with what else is known of the video."""
        return f"{self.rejected}" + (f" ({'; '.join(self.notes)})" if self.notes else "")

    def known_as(self, known: Mapping[str, str]) -> Self:
        """With ``file_state`` and ``sha256`` filled in."""
        return replace(self, **known)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        return cls(**{**value, "clips": [ClipItem(**clip) for clip in value["clips"]]})


@dataclass
class Extractor:
    """The models of one worker. on_progress: called as often as something has gone on."""

    settings: PrepareSettings
    detector: Detector
    codec: MotionCodec
    encoder: SpeechEncoder
    on_progress: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, settings: PrepareSettings) -> "Extractor":
        codec, encoder = build(settings.codec), build(settings.audio)
        if codec.layout.fps != FPS:
            raise UserError(f"codec {codec.name} works at {codec.layout.fps} frames a second; data sets have {FPS}")
        return cls(settings, build(settings.detector), codec, encoder)

    def process(self, source: Source, folder: Path) -> VideoItem:
        """Extract the clips of ``source`` into ``folder``; whatever the file is, the item says what became of it."""
        item, clock = VideoItem(), StageClock()
        try:
            self._extract(source, folder, item, clock)
        except Exception as error:  # whatever a crawled file sets off, the other videos go on
            if _out_of_space(error):
                raise
            if not isinstance(error, UserError):
                traceback.print_exc()
            reason = str(error).replace(f"{source.path} ", "it ")
            item.clips = []
            item.rejected = printable(reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}")
        item.seconds = dict(clock.seconds)
        return item

    def _extract(self, source: Source, folder: Path, item: VideoItem, clock: "StageClock") -> None:
        info = probe(source.path)
        with clock("sound"):
            waveform = self._sound(source.path, info.has_audio)
        if waveform is None:
            item.notes.append("no sound")
        try:
            self._read(FrameReader(source.path, FPS), source, info, waveform, folder, item, clock)
        except DecordFailure:
            item.clips, item.notes = [], item.notes[: waveform is None]
            self._read(PatientReader(source.path, FPS), source, info, waveform, folder, item, clock)

    def _read(
        self,
        reader: Reader,
        source: Source,
        info: VideoInfo,
        waveform: np.ndarray | None,
        folder: Path,
        item: VideoItem,
        clock: "StageClock",
    ) -> None:
        """Find the face in the pictures of ``reader``, and cut and encode the clips."""
        promised = max(reader.num_frames / FPS, info.seconds or 0)
        item.length = reader.num_frames / FPS
        with clock("find face"):
            looks = clock.timed("decode", reader.frames(range(0, reader.num_frames, self.settings.detect_every)))
            tracks, beside = main_tracks(follow(looks, self.detector, FPS))
        if (seconds := reader.num_frames / FPS) < 0.95 * promised - 0.2:
            item.notes.append(f"cut short or damaged: {seconds:.1f} of {promised:.1f} s can be read")
        if beside:
            item.notes.append(f"{beside + 1} faces; the largest was taken")
        plan = self._plan(tracks, reader)
        reasons = []
        for start, stop, boxes in plan:
            key = source.key(len(item.clips))
            try:
                item.clips.append(self._clip(folder / key, range(start, stop), boxes, reader, waveform, clock))
            except DecordFailure:
                raise
            except UserError as error:
                if _out_of_space(error):
                    raise
                reasons.append(f"{start / FPS:.1f} to {stop / FPS:.1f} s: {error}")
        if not item.clips:
            raise UserError("; ".join(reasons))
        if reasons:
            item.notes.append(f"{len(reasons)} of {len(plan)} clips left out: {'; '.join(reasons)}")
        for clip in item.clips:
            clip.quality["source_fps"] = round(reader.source_fps, 3)
            clip.notes.extend(item.notes)

    def _sound(self, path: Path, has_audio: bool) -> np.ndarray | None:
        """(N,) at 16 kHz from the video's time 0, or None where sound is missing and may be."""
        if not has_audio and self.settings.require_audio:
            raise UserError("it has no sound track")
        try:
            return load_audio(path, allow_cut=True) if has_audio else None
        except UserError:
            if self.settings.require_audio:
                raise
            return None

    def _plan(self, tracks: list[Track], reader: Reader) -> list[tuple[int, int, np.ndarray]]:
        """(start, stop, boxes) of each clip to be cut."""
        settings = self.settings
        if not tracks:
            raise UserError("no face was found in it")
        every, longest, shortest = (
            settings.detect_every,
            int(settings.clip_seconds * FPS),
            int(settings.min_seconds * FPS),
        )
        plan, reasons = [], []
        for track in tracks:
            start, stop = segment(track.frames, every, reader.num_frames)
            pieces = split(start, stop, longest, shortest)
            size = face_size(track.boxes_between(start, stop))
            if size < settings.min_face:
                reasons.append(f"the face is {size:.0f} pixels high, fewer than {settings.min_face}")
            elif not pieces:
                reasons.append(
                    f"a face is seen for {(stop - start) / FPS:.1f} s only, less than {settings.min_seconds:g}"
                )
            else:
                plan += [(a, b, track.boxes_between(a, b)) for a, b in pieces]
        if not plan:
            raise UserError(reasons[0])
        return plan

    def _clip(
        self,
        base: Path,
        span: range,
        boxes: np.ndarray,
        reader: Reader,
        waveform: np.ndarray | None,
        clock: "StageClock",
    ) -> ClipItem:
        """Extract the frames ``span`` to files beside ``base``, whose name is the key."""
        length = len(span)
        sound = _cut(waveform, span.start, length)
        if self.settings.require_audio and np.abs(sound - sound.mean()).max() < SILENCE_PEAK:
            raise UserError("its sound is silent")
        box = crop_box(boxes, (reader.height, reader.width), self.settings.crop_margin)
        # cut at its own size where the face is small: nothing is gained by measuring it enlarged
        side = min(box.side, self.settings.video_size)
        crops = clock.timed("decode", reader.frames(span, lambda frame: crop(frame, box, side)))
        with clock("motion"):
            encoded = self.codec.encode(self._stored(crops, length, base, clock))
        share = float(encoded.found.mean())
        if len(encoded.motion) != length:
            raise UserError(f"only {len(encoded.motion)} of {length} frames could be read")
        if share < self.settings.min_found:
            raise UserError(f"the face is found in {share:.0%} of its frames, fewer than {self.settings.min_found:.0%}")
        self.codec.layout.check(encoded.motion, base.name)
        with clock("speech"):
            audio = self.encoder.encode(sound, length).astype(np.float16)  # (T, L, C)
        np.savez(base.with_suffix(".npz"), motion=encoded.motion, identity=encoded.identity, audio=audio)
        flac = io.BytesIO()
        soundfile.write(flac, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        base.with_suffix(".flac").write_bytes(flac.getvalue())
        quality = {"face_found": round(share, 4), "face_pixels": round(face_size(boxes), 1)}
        return ClipItem(base.name, span.start, length, box.centre_and_side, quality, [])

    def _stored(
        self, crops: Iterator[tuple[int, np.ndarray]], length: int, base: Path, clock: "StageClock"
    ) -> Iterator[np.ndarray]:
        """Pass the crops on and write each to the clip's video as it goes by; the middle one to its picture."""
        size = self.settings.video_size
        with VideoWriter(base.with_suffix(".mp4"), size, FPS) as video:
            for number, (_, cut) in enumerate(crops):
                self.on_progress()
                with clock("write video"):
                    frame = cv2.resize(cut, (size, size), interpolation=cv2.INTER_CUBIC) if len(cut) < size else cut
                    video.write(frame)
                    if number == length // 2:
                        small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
                        cv2.imwrite(f"{base}.jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
                yield cut


class StageClock:
    """Seconds of one core spent in each stage, all threads counted; an inner stage is not counted for the outer."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage: str | None = None
        self._since = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        outer = self._switch(stage)
        try:
            yield
        finally:
            self._switch(outer)

    def timed(self, stage: str, items: Iterator) -> Iterator:
        """``items``, with the time it takes to get each counted for ``stage``."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def _switch(self, stage: str | None) -> str | None:
        now, before = time.process_time(), self._stage
        if before is not None:
            self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before


def face_size(boxes: np.ndarray) -> float:
    """Median over (n, 4) boxes of the longer side."""
    return float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))


def _cut(waveform: np.ndarray | None, start: int, length: int) -> np.ndarray:
    """The sound of ``length`` frames from frame ``start``; silence where there is none."""
    sound = np.zeros(length * SAMPLES_PER_FRAME, np.float32)
    if waveform is not None:
        available = waveform[start * SAMPLES_PER_FRAME :][: len(sound)]
        sound[: len(available)] = available
    return sound


def _out_of_space(error: BaseException | None) -> bool:
    """Whether the place written to is the trouble, and not the file that was read."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False
