"""One clip from its span: crop, motion, sound, what speaks against it, and its files.

Cost: that of the codec, of writing H.264 (about 4 ms a frame at 512 pixels) and of the speech encoder.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import soundfile
from scipy.ndimage import median_filter

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from moda.audio.io import SILENCE_PEAK
from moda.codec.base import EncodedClip
from moda.data_prep.decode import DecordFailure, FrameReader
from moda.data_prep.head_motion import beyond, head_motion
from moda.data_prep.held import HeldFrames
from moda.data_prep.items import ClipItem, StageClock
from moda.data_prep.looks import Judged, Looks
from moda.data_prep.patient import PatientReader
from moda.data_prep.pictures import small_picture, write_picture
from moda.data_prep.select import Span
from moda.data_prep.settings import FPS
from moda.data_prep.sync import Sync, sync_by_loudness, sync_by_network
from moda.errors import UserError
from moda.face.crop import CropBox, crop, crop_box
from moda.files import writing
from moda.generation.video import VideoWriter

if TYPE_CHECKING:
    from moda.data_prep.extract import Extractor

# two thirds of superfast's time, at the same PSNR and an eighth more bytes
STORED: dict[str, Any] = {"crf": 19, "preset": "ultrafast", "x264": "deblock=1:8x8dct=1:partitions=i4x4,i8x8"}
SYNC_SIDE, SYNC_MARGIN = 224, 0.4  # what SyncNet looks at: see moda.eval.videos.extractors.sync_crop


class ClipMaker:
    """Makes the clips of one video. waveform: (N,) of all of it, None where it has no sound."""

    def __init__(
        self,
        extractor: "Extractor",
        path: Path,
        frame_size: tuple[int, int],
        waveform: np.ndarray | None,
        clock: StageClock,
    ):
        self.extractor, self.settings = extractor, extractor.settings
        self.path, self.frame_size, self.waveform, self.clock = path, frame_size, waveform, clock

    def make(self, base: Path, span: Span, held: HeldFrames, looks: Looks) -> ClipItem:
        """Write the files of a clip beside ``base``, whose name is its key; UserError with the reason to refuse it."""
        try:
            return self._make(base, span, held, looks)
        except UserError:
            with suppress(OSError):  # what cannot be removed goes with the folder
                for path in base.parent.glob(f"{base.name}.*"):
                    path.unlink()
            raise

    def _make(self, base: Path, span: Span, held: HeldFrames, looks: Looks) -> ClipItem:
        settings, codec, frames = self.settings, self.extractor.codec, range(span.start, span.stop)
        judged = looks.judge(span, FPS)
        self._refuse_face(span, judged)
        speech = self._speech(span)
        box = crop_box(steady(span.boxes), self.frame_size, settings.crop_margin)
        # cut at its own size where the face is small: nothing is gained by measuring it enlarged
        side = min(box.side, settings.video_size)
        encoded = self._encode(base, self._crops(frames, box, side, held), len(frames))
        restless = head_motion(encoded.motion, codec.layout)
        if (reason := beyond(restless, {name: getattr(settings.quality, name) for name in restless})) is not None:
            raise UserError(reason)
        sync = self._sync(span, encoded, held)
        sound = self._sound(span, sync.correction if sync else 0)
        with self.clock("speech features"):
            audio = self.extractor.encoder.encode(sound, len(frames)).astype(np.float16)  # (T, L, C)
        with self.clock("write"), writing(base):
            np.savez(base.with_suffix(".npz"), motion=encoded.motion, identity=encoded.identity, audio=audio)
            flac = io.BytesIO()
            soundfile.write(flac, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            base.with_suffix(".flac").write_bytes(flac.getvalue())
        quality = {"face_found": float(encoded.found.mean()), "face_pixels": span.face_size, "faces": 1.0 + span.beside}
        quality |= judged.values | {f"{name}_change": value for name, value in restless.items()}
        quality |= {} if speech is None else {"speech": speech}
        quality |= {} if sync is None else {"sync": sync.score, "sync_offset": float(sync.offset - sync.correction)}
        emotion = judged.emotion if judged.emotion and judged.emotion.probability >= settings.emotion_sure else None
        return ClipItem(
            key=base.name,
            start=span.start,
            num_frames=len(frames),
            crop=box.centre_and_side,
            quality={name: round(value, 4) for name, value in quality.items()},
            notes=[f"its sound was moved by {-sync.correction} frames"] if sync and sync.correction else [],
            emotion=emotion.name if emotion else None,
            intensity=round(emotion.intensity, 3) if emotion else None,
            face=[] if judged.embedding is None else [round(float(value), 4) for value in judged.embedding],
        )

    def _refuse_face(self, span: Span, judged: Judged) -> None:
        """Before anything that costs."""
        limits, values, recognizer = self.settings.quality, judged.values, self.extractor.networks.identity
        if span.face_size < self.settings.min_face:
            raise UserError(f"the face is {span.face_size:.0f} pixels high, fewer than {self.settings.min_face}")
        if limits.max_faces is not None and span.beside + 1 > limits.max_faces:
            raise UserError(f"{span.beside + 1} faces are in it, more than {limits.max_faces}")
        if limits.same_person and recognizer is not None and judged.apart > recognizer.apart:
            raise UserError("it does not show one person from start to end")
        if limits.min_sharpness is not None and values.get("sharpness", np.inf) < limits.min_sharpness:
            raise UserError(
                f"the face is blurred: sharpness {values['sharpness']:.3f}, less than {limits.min_sharpness:g}"
            )
        if limits.max_occlusion is not None and values.get("occlusion", 0) > limits.max_occlusion:
            raise UserError(f"{values['occlusion']:.0%} of the face is covered, more than {limits.max_occlusion:.0%}")
        if limits.max_camera_motion is not None and values.get("camera_motion", 0) > limits.max_camera_motion:
            raise UserError(
                f"the camera moves by {values['camera_motion']:.2f} sizes of the face in a second, "
                f"more than {limits.max_camera_motion:g}"
            )

    def _speech(self, span: Span) -> float | None:
        """Part of the clip in which somebody speaks; None where that is not known."""
        sound = self._sound(span)
        if self.settings.require_audio and np.abs(sound - sound.mean()).max() < SILENCE_PEAK:
            raise UserError("its sound is silent")
        least = self.settings.quality.min_speech
        if self.extractor.networks.voice is None or (self.waveform is None and least is None):
            return None
        with self.clock("voice activity"):
            share = self.extractor.networks.voice.seconds(sound) / (len(sound) / SAMPLE_RATE)
        if least is not None and share < least:
            raise UserError(f"somebody speaks in {share:.0%} of it, less than {least:.0%}")
        return share

    def _crops(self, frames: range, box: CropBox, side: int, held: HeldFrames) -> Iterator[np.ndarray]:
        """Crops of ``frames`` from those that were kept, else from the file once more."""
        kept = held.crops(frames, box, side)
        return self.clock.timed("crop", kept) if kept is not None else self._from_file(frames, box, side)

    def _from_file(self, frames: range, box: CropBox, side: int) -> Iterator[np.ndarray]:
        """Decord seeks well, fails on some files, and of some it gives less than there is."""

        def cut(frame: np.ndarray) -> np.ndarray:
            return crop(frame, box, side)

        given = 0
        with suppress(DecordFailure):
            for _, picture in self.clock.timed("decode again", FrameReader(self.path, FPS).frames(frames, cut)):
                given += 1
                yield picture
        if given < len(frames):
            with closing(PatientReader(self.path, FPS)) as reader:
                rest = reader.frames(frames[given:], cut)
                yield from (picture for _, picture in self.clock.timed("decode again", rest))

    def _encode(self, base: Path, crops: Iterable[np.ndarray], length: int) -> EncodedClip:
        """Motion of the crops, which are written as the clip's video when they go by."""
        with self.clock("motion"):
            encoded = self.extractor.codec.encode(self._stored(crops, length, base))
        share, least = float(encoded.found.mean()), self.settings.min_found
        if len(encoded.motion) != length:
            raise UserError(f"only {len(encoded.motion)} of {length} frames could be read")
        if share < least:
            raise UserError(f"the face is found in {share:.0%} of its frames, fewer than {least:.0%}")
        self.extractor.codec.layout.check(encoded.motion, base.name)
        return encoded

    def _stored(self, crops: Iterable[np.ndarray], length: int, base: Path) -> Iterator[np.ndarray]:
        """Pass the crops on and write each to the clip's video as it goes by; the middle one to its picture."""
        size = self.settings.video_size
        with VideoWriter(base.with_suffix(".mp4"), size, FPS, threads=1, **STORED) as video:
            for number, cut in enumerate(crops):
                self.extractor.on_progress()
                with self.clock("write video"):
                    frame = cv2.resize(cut, (size, size), interpolation=cv2.INTER_CUBIC) if len(cut) < size else cut
                    video.write(frame)
                    if number == length // 2:
                        write_picture(base.with_suffix(".jpg"), small_picture(frame))
                yield cut

    def _sync(self, span: Span, encoded: EncodedClip, held: HeldFrames) -> Sync | None:
        """Whether mouth and sound belong together; UserError where they must and do not."""
        limits = self.settings.quality
        with self.clock("sync"):
            sync = None if self.waveform is None else self._measured_sync(span, encoded, held)
        if sync is None:
            if limits.min_sync is not None or limits.max_sync_offset is not None:  # a limit that is set holds
                raise UserError("sync cannot be measured: mouth or sound stand still, or it is too short")
            return None
        if not limits.correct_sync:
            sync = Sync(sync.offset, sync.score, False)
        if limits.min_sync is not None and sync.score < limits.min_sync:
            raise UserError(
                f"mouth and sound do not belong together: sync {sync.score:.2f}, less than {limits.min_sync:g}"
            )
        left = abs(sync.offset - sync.correction)
        if limits.max_sync_offset is not None and left > limits.max_sync_offset:
            raise UserError(f"mouth and sound are {left} frames apart, more than {limits.max_sync_offset}")
        return sync

    def _measured_sync(self, span: Span, encoded: EncodedClip, held: HeldFrames) -> Sync | None:
        """By SyncNet where it is here and the frames it looks at are still held, else by loudness."""
        sound, network = self._sound(span), self.extractor.networks.sync
        crops = self._sync_crops(span, held) if network else None
        if crops is not None:
            return sync_by_network(crops, sound, network)
        return sync_by_loudness(self.extractor.codec.lip_aperture(encoded.motion), sound)

    def _sync_crops(self, span: Span, held: HeldFrames) -> Iterator[np.ndarray] | None:
        """uint8 BGR (224, 224, 3) around the place where the face is for most of the clip."""
        x0, y0, x1, y1 = np.median(span.boxes, axis=0)
        half = max(x1 - x0, y1 - y0) / 2
        side = round(2 * half * (1 + SYNC_MARGIN))
        box = CropBox(round((x0 + x1 - side) / 2), round((y0 + y1) / 2 - half), side)
        crops = held.crops(range(span.start, span.stop), box, SYNC_SIDE)
        return None if crops is None else (np.ascontiguousarray(picture[..., ::-1]) for picture in crops)

    def _sound(self, span: Span, later: int = 0) -> np.ndarray:
        """The sound of a span, taken from ``later`` frames behind it; silence where there is none."""
        length = (span.stop - span.start) * SAMPLES_PER_FRAME
        sound = np.zeros(length, np.float32)
        if self.waveform is not None:
            start = (span.start + later) * SAMPLES_PER_FRAME
            available = self.waveform[max(start, 0) : max(start + length, 0)]
            sound[max(-start, 0) : max(-start, 0) + len(available)] = available
        return sound


def steady(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) boxes of looks in a row without the single ones that jump out: the median of three."""
    return median_filter(boxes, size=(3, 1), mode="nearest") if len(boxes) >= 3 else boxes
