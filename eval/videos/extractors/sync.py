"""Sync-C and Sync-D of every face track of a video, by the original pipeline."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import cv2
import numpy as np

from moda.errors import UserError
from moda.eval.networks import SyncNet
from moda.eval.sync import sync_score
from moda.eval.videos.extractors.base import Arrays
from moda.eval.videos.extractors.detectors import FaceDetector
from moda.eval.videos.extractors.sync_crop import GREY, smooth_track, sync_crop, through_xvid
from moda.eval.videos.extractors.tracks import SceneCuts, Track, find_tracks
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.view import View

VERSION = 2
FEWEST = 20  # frames; fewer windows than offsets make no curve


@dataclass(frozen=True)
class SyncExtractor:
    """label: stands behind "Sync-C" where the network is not the official one."""

    network: SyncNet
    weights_sha256: str
    label: str
    detector: FaceDetector
    protocol: Protocol
    name: str = "sync"
    needs_sound: bool = True

    def identity(self) -> dict[str, Any]:
        protocol = self.protocol
        return {
            "version": VERSION, "network": "SyncNet", "label": self.label, "weights": self.weights_sha256,
            "detector": self.detector.identity(),
            **{name: getattr(protocol, name) for name in (
                "pad", "detector_threshold", "detector_scale", "min_track", "min_face", "sync_margin",
                "sync_min_seconds", "lossy", "fps",
            )},
        }  # fmt: skip

    def begin(self, view: View) -> "Tracking":
        seconds = view.num_frames / self.protocol.fps
        if seconds < self.protocol.sync_min_seconds:
            raise UserError(
                f"{seconds:.1f} s are too short for sync; the protocol asks for {self.protocol.sync_min_seconds:g} s"
            )
        audio = view.audio()
        if len(audio) < FEWEST * 640:
            raise UserError(f"its sound lasts {len(audio) / 16000:.1f} s, which is too short for sync")
        return Tracking(self, view, audio)


@dataclass
class Tracking:
    """Detects faces while frames pass; looks at them again for the crops once the tracks are known."""

    extractor: SyncExtractor
    view: View
    audio: np.ndarray
    cuts: SceneCuts = field(default_factory=SceneCuts)
    detections: list[np.ndarray] = field(default_factory=list)

    def add(self, frames: np.ndarray) -> None:
        protocol = self.extractor.protocol
        for frame in frames:
            self.cuts.add(frame)
            canvas, offset = on_canvas(frame, protocol)
            boxes = self.extractor.detector.detect(canvas, protocol.detector_threshold, protocol.detector_scale)
            self.detections.append(boxes[:, :4] - offset)

    def tracks(self) -> list[Track]:
        """Of all frames so far. Raises UserError where there is none."""
        protocol = self.extractor.protocol
        tracks = find_tracks(self.detections, self.cuts.scenes(), protocol.min_track, protocol.min_face)
        if not tracks:
            seen = sum(len(boxes) > 0 for boxes in self.detections)
            raise UserError(
                f"no face track of more than {protocol.min_track} detections "
                f"(a face in {seen} of {len(self.detections)} frames)"
            )
        return tracks

    def finish(self) -> Arrays:
        scores = [(track, self._score(track)) for track in self.tracks() if len(track.boxes) >= FEWEST]
        scores = [(track, score) for track, score in scores if score is not None]
        if not scores:
            raise UserError("the sound ends before any face track is long enough for sync")
        return {
            "offset": np.array([score.offset for _, score in scores]),
            "sync_d": np.array([score.sync_d for _, score in scores]),
            "sync_c": np.array([score.sync_c for _, score in scores]),
            "curves": np.array([score.curve for _, score in scores]),  # (tracks, 31)
            "frames": np.array([len(track.boxes) for track, _ in scores]),
            "start": np.array([track.start for track, _ in scores]),
        }

    def _score(self, track: Track):
        audio = self.audio[track.start * 640 : track.stop * 640]
        if len(audio) < FEWEST * 640:
            return None
        crops = self.crops(track)
        crops = np.stack(list(through_xvid(crops) if self.extractor.protocol.lossy else crops))
        return sync_score(crops, audio, self.extractor.network)

    def crops(self, track: Track) -> Iterator[np.ndarray]:
        """Yield uint8 BGR (224, 224, 3) of each frame of the track."""
        protocol = self.extractor.protocol
        places = smooth_track(track.boxes)
        for frame, (half, x, y) in zip(islice(self.view.frames(), track.start, track.stop), places, strict=True):
            canvas, offset = on_canvas(frame, protocol)
            crop = sync_crop(canvas, half, x + offset[0], y + offset[1], protocol.sync_margin)
            yield np.ascontiguousarray(crop[:, :, ::-1])


def on_canvas(frame: np.ndarray, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """The frame in the middle of the protocol's grey canvas, and where (x, y, x, y) its corner lies on it."""
    height, width = frame.shape[:2]
    if protocol.pad is None:
        return frame, np.zeros(4)
    top, left = max(protocol.pad - height, 0) // 2, max(protocol.pad - width, 0) // 2
    bottom, right = max(protocol.pad - height, 0) - top, max(protocol.pad - width, 0) - left
    canvas = cv2.copyMakeBorder(frame, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(GREY,) * 3)
    return canvas, np.array([left, top, left, top])
