"""The settings of a preparation, checked once."""

from dataclasses import asdict, dataclass, field, fields
from math import inf, isfinite
from pathlib import Path
from typing import Any, Self

from moda.data_prep.corpora import get_corpus
from moda.data_prep.sources import SPEAKER_FROM
from moda.data_prep.splits import split_speakers
from moda.errors import UserError

FPS = 25
LAUNCHERS = ("local", "slurm", "ray")
# where things are and who works on them: what a data set is made of does not depend on these
APART = ("source", "out", "launcher", "workers", "tasks", "stall_seconds")

# of limits: smallest, largest, and how that is said; of others any number from 0 on
RANGES = {
    "max_occlusion": (0, 1, "a part, from 0 to 1"),
    "min_speech": (0, 1, "a part, from 0 to 1"),
    "max_faces": (1, inf, "1 or more"),
    "min_sync": (-inf, inf, "a number"),
}


@dataclass
class SplitSettings:
    """Arguments of ``splits.split_speakers``; deny: a text file, see ``deny.read_deny_list``."""

    val: float = 0.1
    test: float = 0.1
    expert: float = 0.0
    pinned: dict[str, list[str]] = field(default_factory=dict)
    seed: int = 0
    deny: str | None = None


@dataclass
class QualitySettings:
    """Limits beyond which a clip is refused; None measures without refusing.

    pitch, yaw, roll (degrees) and translation (the layout's units): standard deviation of the change from
        frame to frame. min_sharpness: see ``sharpness``. max_occlusion: part of the face that is covered.
    max_faces: at one time. max_camera_motion: sizes of the face in a second. min_speech: part of the clip in
        which somebody speaks. min_sync: correlation or Sync-C, whichever is measured.
    max_sync_offset: frames that remain. same_person: whether a clip must show one person from start to end.
    correct_sync: whether sound that is clearly early or late is moved.
    """

    pitch: float | None = 0.9
    yaw: float | None = 1.0
    roll: float | None = 0.7
    translation: float | None = 0.01
    min_sharpness: float | None = None
    max_occlusion: float | None = None
    max_faces: int | None = None
    max_camera_motion: float | None = None
    min_speech: float | None = None
    min_sync: float | None = None
    max_sync_offset: int | None = None
    same_person: bool = True
    correct_sync: bool = True

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            least, most, allowed = RANGES.get(f.name, (0, inf, "a number from 0 on"))
            if value is not None and not (least <= value <= most and isfinite(value)):
                raise UserError(f"quality.{f.name}={value} must be {allowed}")


@dataclass
class NetworkSettings:
    """Networks beside the codec: ``auto``, where they are on the machine, or ``none``."""

    identity: str = "auto"
    emotion: str = "auto"
    voice: str = "auto"
    sync: str = "auto"

    def __post_init__(self) -> None:
        for f in fields(self):
            if getattr(self, f.name) not in ("auto", "none"):
                raise UserError(f"networks.{f.name}={getattr(self, f.name)} must be auto or none")


@dataclass
class PrepareSettings:
    """What ``conf/prepare.yaml`` holds. Times are in seconds, sizes in pixels.

    codec, audio, detector: component specs for ``moda.build.build``.
    corpus: name of the corpus that source is, None for any folder of videos.
    clip_seconds, min_seconds: longest and shortest clip.
    video_size: side of the stored crops; crop_margin: side of the crop over the size of the face.
    detect_every: frames from one look for faces to the next while cutting clips.
    min_face: size of the smallest face that is used, in the source; min_found: share of a clip's
        frames in which the codec must find the face.
    require_audio: refuse videos and clips without sound.
    emotion_sure: probability from which an emotion that is seen counts where no label gives one.
    shard_size: clips in a shard at most. limit: use only the first so many videos.
    launcher: who runs the tasks; workers: processes at a time, None as many as there is room for, and
        for launcher=local 0 does everything in this process;
        tasks: parts the work is divided into, None as many as suit the workers.
    stall_seconds: a video at which nothing goes on for so long is given up; 0 never.
    """

    source: Path
    out: Path
    codec: dict[str, Any]
    audio: dict[str, Any]
    detector: dict[str, Any]
    corpus: str | None = None
    clip_seconds: float = 10.0
    min_seconds: float = 1.0
    video_size: int = 512
    crop_margin: float = 1.6
    detect_every: int = 5
    min_face: int = 40
    min_found: float = 0.9
    require_audio: bool = True
    quality: QualitySettings = field(default_factory=QualitySettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    emotion_sure: float = 0.6
    speaker_from: str = "parent"
    splits: SplitSettings = field(default_factory=SplitSettings)
    shard_size: int = 256
    limit: int | None = None
    launcher: str = "local"
    workers: int | None = 1
    tasks: int | None = None
    stall_seconds: float = 300.0

    def __post_init__(self) -> None:
        checks = {
            "clip_seconds": isfinite(self.clip_seconds),
            "min_seconds": 0.2 <= self.min_seconds <= self.clip_seconds,
            "video_size": self.video_size >= 64 and self.video_size % 2 == 0,
            "crop_margin": 1 <= self.crop_margin <= 10,
            "detect_every": 1 <= self.detect_every <= 12,
            "min_face": self.min_face >= 1,
            "min_found": 0 < self.min_found <= 1,
            "speaker_from": self.speaker_from in SPEAKER_FROM,
            "emotion_sure": 0 < self.emotion_sure <= 1,
            "shard_size": self.shard_size >= 1,
            "limit": self.limit is None or self.limit >= 1,
            "launcher": self.launcher in LAUNCHERS,
            "workers": self.workers is None or self.workers >= 0,
            "tasks": self.tasks is None or self.tasks >= 1,
            "stall_seconds": 0 <= self.stall_seconds < inf,
        }
        allowed = {
            "clip_seconds": "a number of seconds",
            "min_seconds": "from 0.2 to clip_seconds",
            "video_size": "an even number from 64",
            "crop_margin": "from 1 to 10",
            "detect_every": "from 1 to 12 frames",
            "min_found": "above 0 and at most 1",
            "emotion_sure": "above 0 and at most 1",
            "speaker_from": f"one of {', '.join(SPEAKER_FROM)}",
            "launcher": f"one of {', '.join(LAUNCHERS)}",
            "workers": "0 or more",
            "stall_seconds": "0 or more",
        }
        for name, good in checks.items():
            if not good:
                raise UserError(f"{name}={getattr(self, name)} must be {allowed.get(name, '1 or more')}")
        if self.corpus is not None:
            get_corpus(self.corpus)
            if self.speaker_from in ("top", "file"):
                raise UserError(f"speaker_from={self.speaker_from} does nothing with corpus={self.corpus}, "
                                "whose files tell the speakers; leave it out, or give speaker_from=face")  # fmt: skip
        split_speakers(
            [], self.splits.val, self.splits.test, expert=self.splits.expert
        )  # refuses wrong shares now, not in the end

    def request(self) -> dict[str, Any]:
        """Everything that shapes the data set, as plain values; leaves out where it is and who works."""
        parts = ("splits", "quality", "networks")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*APART, *parts)}
        for part in parts:
            plain |= {f"{part}.{name}": value for name, value in asdict(getattr(self, part)).items()}
        return plain

    def extraction(self) -> dict[str, Any]:
        """The part of ``request`` that shapes what is read off one video."""
        later = ("splits.", "shard_size", "limit", "speaker_from", "corpus")
        return {name: value for name, value in self.request().items() if not name.startswith(later)}

    def to_dict(self) -> dict[str, Any]:
        """As plain values, from which ``from_dict`` makes the same settings elsewhere."""
        return asdict(self) | {"source": str(self.source.absolute()), "out": str(self.out.absolute())}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        paths = {name: Path(value[name]) for name in ("source", "out")}
        parts = {"splits": SplitSettings, "quality": QualitySettings, "networks": NetworkSettings}
        made = {name: part(**value[name]) for name, part in parts.items()}
        return cls(**{**value, **paths, **made})
