"""One video to its clips: decoded once, while every stage looks at the frames that go by."""

import errno
import json
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from moda.audio.encoder import SpeechEncoder
from moda.audio.io import load_audio
from moda.build import build
from moda.codec.base import MotionCodec
from moda.data_prep.clip import ClipMaker
from moda.data_prep.held import HeldFrames
from moda.data_prep.items import StageClock, VideoItem
from moda.data_prep.looks import Looks
from moda.data_prep.networks import Networks, build_networks
from moda.data_prep.patient import PatientReader
from moda.data_prep.pictures import REFUSED, STRETCH, small_picture, write_picture
from moda.data_prep.probe import probe
from moda.data_prep.scenes import SceneCuts
from moda.data_prep.select import Selector, Span
from moda.data_prep.settings import FPS, PrepareSettings
from moda.data_prep.sources import Source, printable
from moda.data_prep.track import Detector, Follower
from moda.errors import UserError
from moda.files import CannotWrite

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no file that is read says so


@dataclass
class Extractor:
    """The models of one worker. on_progress: called as often as something has gone on."""

    settings: PrepareSettings
    detector: Detector
    codec: MotionCodec
    encoder: SpeechEncoder
    networks: Networks = field(default_factory=Networks)
    on_progress: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, settings: PrepareSettings) -> "Extractor":
        codec, encoder = build(settings.codec), build(settings.audio)
        if codec.layout.fps != FPS:
            raise UserError(f"codec {codec.name} works at {codec.layout.fps} frames a second; data sets have {FPS}")
        return cls(settings, build(settings.detector), codec, encoder, build_networks(settings))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of everything that measures."""
        return {"codec": self.codec.fingerprint, "audio": self.encoder.fingerprint, **self.networks.fingerprints}

    @property
    def state(self) -> str:
        """Names everything that what is read off a video depends on, beside the video."""
        depends = [self.settings.extraction(), self.fingerprints]
        return sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def process(self, source: Source, folder: Path) -> VideoItem:
        """Extract the clips of ``source`` into ``folder``; whatever the file is, the item says what became of it."""
        reading = _Reading(self, source, folder)
        try:
            reading.run()
        except Exception as error:  # whatever a crawled file sets off, the other videos go on
            if _is_of_the_output(error):
                raise
            if not isinstance(error, UserError):
                traceback.print_exc()
            reason = str(error).replace(f"{source.path} ", "it ")
            reading.item.clips = []
            reading.item.rejected = printable(
                reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}"
            )
            reading.picture_refusal()
        reading.item.seconds = dict(reading.clock.seconds)
        return reading.item


class _Reading:
    """One video on its way through the stages."""

    def __init__(self, extractor: Extractor, source: Source, folder: Path):
        self.extractor, self.source, self.folder = extractor, source, folder
        self.item, self.clock = VideoItem(), StageClock()
        self._reasons: list[str] = []  # of clips and stretches that were left out
        self._beside, self._probed = 0, False
        self._picture: np.ndarray | None = None

    def run(self) -> None:
        settings = self.extractor.settings
        info = probe(self.source.path)
        self._probed = True
        with self.clock("sound"):
            waveform = self._sound(info.has_audio or self.source.sound is not None)
        if waveform is None:
            self.item.notes.append("no sound")
        with self.clock("decode"):
            opened = PatientReader(self.source.path, FPS)
        with closing(opened) as reader:
            promised = max(reader.num_frames / FPS, info.seconds or 0)
            selector = Selector(
                int(settings.clip_seconds * FPS), int(settings.min_seconds * FPS), settings.detect_every
            )
            maker = ClipMaker(self.extractor, self.source.path, (reader.height, reader.width), waveform, self.clock)
            self._watch(reader, selector, maker)
        self._conclude(reader, promised)

    def _watch(self, reader: PatientReader, selector: Selector, maker: ClipMaker) -> None:
        """The one pass over the frames."""
        settings, clock = self.extractor.settings, self.clock
        cuts, follower = SceneCuts(), Follower(self.extractor.detector, FPS)
        looks = Looks(self.extractor.networks, settings.detect_every)
        held = HeldFrames(settings.video_size, settings.crop_margin)

        def take(spans: list[Span]) -> None:
            """Make clips of what is complete, and let go of the frames before what comes."""
            for span in spans:
                self._take(span, maker, held, looks)
            begin = selector.needed_from if selector.followed else number
            held.drop(begin)
            looks.drop(begin)

        number = -1
        for number, frame in clock.timed("decode", reader.frames(range(reader.num_frames))):
            self.extractor.on_progress()
            with clock("find cuts"):
                is_cut = cuts.add(frame)
            if is_cut:
                take(selector.cut(number))
                follower.cut()
                looks.cut()
            if number % settings.detect_every == 0:
                with clock("find face"):
                    live = follower.look(number, frame)
                take(selector.look(number, live))
                if (seen := selector.seen_at(number)) is not None:
                    with clock("judge face"):
                        looks.add(number, frame, seen)
                if number <= reader.num_frames // 2:
                    self._picture = small_picture(frame)
            if selector.followed:
                with clock("keep"):
                    held.add(number, frame, selector.followed)
        number += 1
        take(selector.end(number))
        self.item.length = number / FPS
        if selector.too_short and not self.item.clips and not self._reasons:
            longest = max(stop - start for start, stop in selector.too_short)
            self._reasons.append(f"a face is seen for {longest / FPS:.1f} s only, less than {settings.min_seconds:g}")

    def _take(self, span: Span, maker: ClipMaker, held: HeldFrames, looks: Looks) -> None:
        self._beside = max(self._beside, span.beside)
        key = self.source.key(len(self.item.clips))
        try:
            self.item.clips.append(maker.make(self.folder / key, span, held, looks))
        except UserError as error:
            if _is_of_the_output(error):
                raise
            picture = held.picture((span.start + span.stop) // 2)
            if picture is not None:
                write_picture(self.folder / f"{STRETCH.format(len(self._reasons))}.jpg", small_picture(picture))
            self._reasons.append(f"{span.start / FPS:.1f} to {span.stop / FPS:.1f} s: {error}")

    def _conclude(self, reader: PatientReader, promised: float) -> None:
        """Notes of the video, and why nothing of it can be used."""
        item = self.item
        if item.length < 0.95 * promised - 0.2:
            item.notes.append(f"cut short or damaged: {item.length:.1f} of {promised:.1f} s can be read")
        if self._beside:
            item.notes.append(f"{self._beside + 1} faces; the largest was taken")
        item.left_out = self._reasons
        if not item.clips:
            raise UserError("; ".join(self._reasons) or "no face was found in it")
        if self._reasons:
            total = len(item.clips) + len(self._reasons)
            item.notes.append(f"{len(self._reasons)} of {total} clips left out: {'; '.join(self._reasons)}")
        for clip in item.clips:
            clip.quality["source_fps"] = round(reader.source_fps, 3)
            clip.notes.extend(item.notes)

    def _sound(self, has_audio: bool) -> np.ndarray | None:
        """(N,) at 16 kHz from the video's time 0, or None where sound is missing and may be."""
        required = self.extractor.settings.require_audio
        if not has_audio and required:
            raise UserError("it has no sound track")
        try:
            return load_audio(self.source.sound or self.source.path, allow_cut=True) if has_audio else None
        except UserError:
            if required:
                raise
            return None

    def picture_refusal(self) -> None:
        """Leave a picture of a video of which nothing is used, if it can be read at all."""
        if self._picture is None and self._probed:  # refused before it was looked at, as for want of sound
            with suppress(UserError), closing(PatientReader(self.source.path, FPS)) as reader:
                self._picture = next((small_picture(frame) for _, frame in reader.frames(range(1))), None)
        if self._picture is not None:
            write_picture(self.folder / REFUSED, self._picture)


def _is_of_the_output(error: BaseException | None) -> bool:
    """Whether the place written to is the trouble, and not the file that was read."""
    while error is not None:
        if isinstance(error, CannotWrite) or getattr(error, "errno", None) in FULL:
            return True
        error = error.__cause__
    return False
