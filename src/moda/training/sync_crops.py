"""Mouths and sounds of a data set as SyncNet looks at them, made once and read by the window.

FOLDER/KEY.mp4   uint8 crops 224 x 224 of every frame, cropped as the evaluation crops them
       KEY.npy   the sound, (N,) int16 at 16 kHz
       KEY.json  why a clip has neither
"""

import tempfile
from pathlib import Path

import numpy as np
import soundfile

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from moda.data.media import read_sounds, read_video
from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.data_prep.decode import FrameReader
from moda.errors import UserError
from moda.eval.mfcc import steps_of
from moda.eval.videos.extractors.detectors import LandmarkDetector
from moda.eval.videos.extractors.sync_crop import SIDE, smooth_track, sync_crop
from moda.eval.videos.extractors.tracks import find_tracks
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import square
from moda.files import atomic_path, read_json, write_json
from moda.generation.video import VideoWriter
from moda.progress import progress

VERSION = 2
FRAME_SIDE = 512  # pixels that the evaluation brings face crops to
FEWEST = 0.8  # part of a clip's frames that must show the face
CRF = 10  # of the stored crops: no loss that one sees


class SyncCrops:
    """The store of one data set below ``folder``; what is missing is made by ``prepare``."""

    def __init__(self, folder: str | Path, root: str | Path, manifest: DatasetManifest):
        self.folder = Path(folder) / f"{manifest.fingerprint[:16]}-{VERSION}"
        self.root, self.manifest = Path(root), manifest

    def prepare(self, split: str) -> None:
        """Make the crops of a split. Several processes may: each file appears when it is whole.

        Raises UserError where the data set holds no video, or hardly any clip shows a face.
        """
        clips = [clip.key for clip in FeatureShards(self.root, split, self.manifest)]
        missing = [key for key in clips if not self._is_done(key)]
        if missing:
            detector = LandmarkDetector()
            sounds = read_sounds(self.root, self.manifest, split, set(missing))
            with progress(f"cropping mouths of split {split}", len(missing), "clips") as advance:
                for key in missing:
                    self._make(key, split, sounds.get(key), detector)
                    advance()
        unusable = [key for key in clips if (self.folder / f"{key}.json").is_file()]
        if len(unusable) * 2 > len(clips):
            reason = read_json(self.folder / f"{unusable[0]}.json")["reason"]
            raise UserError(f"{len(unusable)} of {len(clips)} clips of split {split} are unusable for sync ({reason})")

    def frames(self, key: str) -> int:
        """Windows can start below this frame; 0 for an unusable clip."""
        path = self.folder / f"{key}.npy"
        return steps_of(len(np.load(path, mmap_mode="r", allow_pickle=False))) // 4 if path.is_file() else 0

    def crops(self, key: str, start: int, stop: int) -> np.ndarray:
        """uint8 BGR (stop - start, 224, 224, 3)."""
        reader = FrameReader(self.folder / f"{key}.mp4")
        return np.stack([frame[:, :, ::-1] for _, frame in reader.frames(range(start, stop))])

    def sound(self, key: str) -> np.ndarray:
        """(N,) int16 at 16 kHz."""
        return np.load(self.folder / f"{key}.npy", allow_pickle=False)

    def _is_done(self, key: str) -> bool:
        return (self.folder / f"{key}.npy").is_file() or (self.folder / f"{key}.json").is_file()

    def _make(self, key: str, split: str, sound: np.ndarray | None, detector: LandmarkDetector) -> None:
        try:
            data = read_video(self.root, self.manifest, split, key)
            if data is None or sound is None:
                raise UserError("the data set holds no video and sound of it; prepare it again from its videos")
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "clip.mp4").write_bytes(data)
                soundfile.write(Path(folder) / "clip.wav", sound, SAMPLE_RATE)
                self._write(key, Path(folder) / "clip.mp4", Path(folder) / "clip.wav", detector)
        except UserError as error:
            write_json(self.folder / f"{key}.json", {"reason": str(error)})

    def _write(self, key: str, video: Path, sound: Path, detector: LandmarkDetector) -> None:
        source = open_source(video, sound)
        found = [detector.detect(square(frame, FRAME_SIDE), 0.9, 0.25)[:, :4] for frame in source.frames()]
        tracks = find_tracks(found, [range(len(found))], min_track=int(FEWEST * len(found)))
        if not tracks:
            seen = sum(len(boxes) > 0 for boxes in found)
            raise UserError(f"no face runs through the clip (one in {seen} of {len(found)} frames)")
        track = tracks[0]
        after = len(found) - track.stop
        boxes = np.concatenate([track.boxes[:1].repeat(track.start, 0), track.boxes, track.boxes[-1:].repeat(after, 0)])
        with VideoWriter(self.folder / f"{key}.mp4", SIDE, crf=CRF, gop=10) as writer:
            for frame, place in zip(source.frames(), smooth_track(boxes), strict=True):
                writer.write(sync_crop(square(frame, FRAME_SIDE), *place))
        with atomic_path(self.folder / f"{key}.npy") as temporary:
            np.save(temporary, source.audio()[: SAMPLES_PER_FRAME * len(found)])
