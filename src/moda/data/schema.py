"""What a data set on disk looks like: the contract between data_prep, training and evaluation.

    DATASET/
      dataset.json                    DatasetManifest
      videos-%06d.jsonl               what became of each source video, a file for each time that videos were added
      SPLIT/features-%06d.tar         KEY.json  KEY.motion.npy  KEY.identity.npy  KEY.audio.npy
      SPLIT/video-%06d.tar            KEY.mp4   KEY.flac          same keys, same order

SPLIT is train, val, test or expert (what a sync expert learns from), apart by speaker. Members of other kinds are refused.
"""

import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from moda.data.typed import typed
from moda.errors import UserError
from moda.files import read_json, write_json
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics

SCHEMA_VERSION = 1
MANIFEST_NAME = "dataset.json"
SPLITS = ("train", "val", "test", "expert")
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")

# member suffix of a key -> meaning; anything else in a shard is refused
FEATURE_MEMBERS = ("json", "motion.npy", "identity.npy", "audio.npy")
VIDEO_MEMBERS = ("mp4", "flac")

# MoDA's eight classes in its own order; unknown labels train the null embedding
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def emotion_index(name: str | None) -> int:
    """Class index of an emotion's name; None (unknown) is ``len(EMOTIONS)``, the null class."""
    if name is None:
        return len(EMOTIONS)
    if name not in EMOTIONS:
        raise UserError(f"unknown emotion {name!r}; known: {', '.join(EMOTIONS)}")
    return EMOTIONS.index(name)


def check_intensity(value: Any) -> float:
    """An emotion's intensity, 1 where it is not known (None); ValueError unless it lies in 0 to 1."""
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"emotion_intensity {value!r:.60} is no number from 0 to 1")
    return float(value)


def check_key(key: str) -> str:
    """Return ``key`` if it may name a sample (and so a file), else refuse it."""
    if not KEY_PATTERN.fullmatch(key):
        raise UserError(f"sample key {key!r} is not of the form [A-Za-z0-9_-]{{1,128}}")
    return key


@dataclass(frozen=True)
class ClipRecord:
    """KEY.json: what is known of one clip beside its arrays."""

    key: str
    split: str
    speaker: str
    source: str  # the file it came from, relative to the source folder
    start: float  # seconds into that file
    num_frames: int
    fps: int
    crop: tuple[float, float, float]  # centre x, centre y, side, in pixels of the source
    emotion: str | None = None
    emotion_intensity: float | None = None  # 0 is neutral, 1 the emotion in full; None: not known, taken as 1
    quality: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what a reader should know, as "3 faces; the largest was taken"
    schema: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        value = asdict(self)
        if self.emotion_intensity is None:  # so that data sets without intensities are, byte for byte, what they were
            del value["emotion_intensity"]
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ClipRecord":
        if value.get("schema") != SCHEMA_VERSION:
            raise UserError(
                f"clip {value.get('key')!r} has schema {value.get('schema')!r}, this version reads {SCHEMA_VERSION}"
            )
        return cls(**{**value, "crop": tuple(value["crop"]), "notes": tuple(value["notes"])})


@dataclass(frozen=True)
class Shard:
    """One features tar and the video tar beside it; paths are relative to the data set."""

    split: str
    features: str
    video: str | None
    num_samples: int
    num_frames: int
    bytes: int  # of the features tar
    sha256: str  # of the features tar
    video_sha256: str | None = None


@dataclass(frozen=True)
class DatasetManifest:
    """dataset.json. ``fingerprint`` names the content: it changes when any sample does."""

    codec: dict[str, Any]  # component spec: ``moda.build.build(manifest.codec)`` gives the codec
    codec_fingerprint: str
    audio_encoder: dict[str, Any]  # component spec of the speech encoder
    audio_fingerprint: str
    audio_layers: int
    audio_dim: int
    identity_dim: int
    statistics: MotionStatistics
    splits: dict[str, list[str]]  # split -> speakers
    shards: tuple[Shard, ...]
    fingerprint: str
    schema: int = SCHEMA_VERSION
    videos: tuple[str, ...] = ()  # files of ``moda.data_prep.records``, relative to the data set

    @property
    def layout(self) -> MotionLayout:
        return self.statistics.layout

    def splits_of(self) -> dict[str, list[str]]:
        """The splits that each speaker is named in: one, where ``moda prepare`` has made them."""
        found: dict[str, list[str]] = {}
        for split, speakers in self.splits.items():
            for speaker in speakers:
                found.setdefault(speaker, []).append(split)
        return found

    def shards_of(self, split: str) -> tuple[Shard, ...]:
        """Shards of a split; an absent split is an error that says which ones there are."""
        found = tuple(shard for shard in self.shards if shard.split == split)
        if not found:
            present = sorted({shard.split for shard in self.shards})
            raise UserError(
                f"the data set has no {split!r} split, only {', '.join(present)}; prepare it with more speakers"
            )
        return found

    def save(self, root: str | Path) -> None:
        value = {f.name: getattr(self, f.name) for f in fields(self)}
        value |= {
            "layout": self.layout.name,
            "statistics": self.statistics.to_dict(),
            "shards": [asdict(shard) for shard in self.shards],
        }
        write_json(Path(root) / MANIFEST_NAME, value)

    @classmethod
    def load(cls, root: str | Path) -> "DatasetManifest":
        """Read ``root``/dataset.json."""
        path = Path(root) / MANIFEST_NAME
        if not path.is_file():
            raise UserError(
                f"{root} is not a prepared data set (no {MANIFEST_NAME}); run: moda prepare source=VIDEOS out={root}"
            )
        value = read_json(path)
        if not isinstance(value, dict):
            raise UserError(f"{path} holds {type(value).__name__}, not what moda prepare writes; prepare it again")
        if value.get("schema") != SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema {value.get('schema')!r}, this version reads {SCHEMA_VERSION}; prepare it again"
            )
        try:
            layout = value.pop("layout")
            statistics = MotionStatistics.from_dict(value.pop("statistics"), str(path))
            shards = tuple(typed(Shard, shard) for shard in value.pop("shards"))
            videos = tuple(value.pop("videos", ()))
            found = typed(cls, {**value, "statistics": statistics, "shards": shards, "videos": videos})
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is incomplete ({error}); prepare it again") from error
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{path} is not what moda prepare writes: {error}; prepare it again") from error
        if found.layout.name != layout:
            raise UserError(f"{path}: layout {layout} but statistics of {found.layout.name}; prepare it again")
        return found
