"""The card of a data set: what is in it, what is not and why, in one file that opens without a server."""

import base64
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from moda.data.decode import Clip
from moda.data.media import iterate_frames, read_sounds, read_video
from moda.data.schema import EMOTIONS, DatasetManifest
from moda.data.shards import FeatureShards
from moda.data_prep.card_figures import Values, bars, histograms
from moda.data_prep.corpora import CORPORA
from moda.data_prep.pictures import refusals
from moda.data_prep.records import VideoRecord, read_records
from moda.data_prep.settings import FPS
from moda.errors import UserError
from moda.files import atomic_path
from moda.generation.video import VideoWriter
from moda.progress import clock
from moda.weights.registry import REGISTRY

CARD_NAME = "card.html"
MOST_CLIPS = 2000  # of each split that are looked into, spread evenly
SAMPLES, SAMPLE_SIDE = 2, 256  # clips of each split to watch, and their size in pixels
THUMBNAILS = 12  # refused videos that are shown for one reason, and clips that are shown in all
# what is drawn: name in the record -> title and unit
QUALITY = {
    "face_pixels": "size of the face (pixels)", "sharpness": "sharpness", "occlusion": "part of the face covered",
    "camera_motion": "camera motion (sizes of the face a second)", "speech": "part with speech", "sync": "sync",
    "sync_offset": "sound late by (frames)", "faces": "faces in view",
}  # fmt: skip
# whose files a codec or a speech encoder runs on: part of its name -> weights
RUNS_ON = {
    "HeadCodec": ("face_landmarker", "head_mesh"), "PhonemeEncoder": ("phoneme_ctc",),
    "LivePortrait": ("liveportrait_appearance", "liveportrait_motion"),
}  # fmt: skip


@dataclass
class Gathered:
    """What the clips of a data set say, of those that were looked into."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    emotions: Counter[str] = field(default_factory=Counter)
    keys: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # split -> keys

    def add(self, clip: Clip, manifest: DatasetManifest) -> None:
        record, motion, layout = clip.record, clip.motion, manifest.layout
        self.keys[record.split].append(clip.key)
        self.emotions[record.emotion or "unknown"] += 1
        self.values["seconds"].append(clip.num_frames / FPS)
        for name, value in zip(("pitch", "yaw", "roll"), motion[:, layout.groups["rotation"]].T, strict=True):
            self.values[name] += value[::5].tolist()
        lips = motion[:, list(layout.subsets["lips"])]
        self.values["lips"].append(float(lips.std(0).mean()))
        if len(motion) > 1:
            steps = np.abs(np.diff(motion[:, layout.groups["rotation"]], axis=0)).mean()
            self.values["turning"].append(float(steps * FPS))
        for name in QUALITY:
            if name in record.quality:
                self.values[name].append(float(record.quality[name]))


def write_card(root: Path, out: Path | None = None) -> Path:
    """Write the card of the data set at ``root``, by default into it, or into the folder ``out``; returns its path."""
    manifest = DatasetManifest.load(root)
    request, records = read_records(root, manifest)
    gathered = gather(root, manifest)
    page = (
        _environment()
        .get_template("card.html")
        .render(
            name=root.resolve().name,
            manifest=manifest,
            totals=totals(manifest),
            shared=sorted(speaker for speaker, splits in manifest.splits_of().items() if len(set(splits)) > 1),
            splits={split: totals(manifest, split) for split in manifest.splits},
            seen=sum(map(len, gathered.keys.values())),
            motion=histograms(_motion(gathered)),
            quality=histograms(
                [Values(title, gathered.values[name]) for name, title in QUALITY.items() if gathered.values[name]]
            ),
            emotions=bars(
                {name: gathered.emotions[name] for name in (*EMOTIONS, "unknown") if gathered.emotions[name]}
            ),
            videos=len(records),
            used=sum(bool(record.item.clips) for record in records.values()),
            refused=refused(records.values()),
            pictures=_spread([picture for record in records.values() for picture in record.clip_pictures]),
            samples=list(samples(root, manifest, gathered.keys)),
            licences=licences(request, manifest),
            request=request,
        )
    )
    path = root / CARD_NAME if out is None else out / CARD_NAME if out.is_dir() else out
    with atomic_path(path) as temporary:
        temporary.write_text(page)
    return path


def gather(root: Path, manifest: DatasetManifest) -> Gathered:
    """Look into the clips of all splits; a clip that cannot be read is left to ``moda lint``."""
    gathered = Gathered()
    for split in manifest.splits:
        shards = FeatureShards(root, split, manifest, on_corrupt=lambda error: None)
        step = max(1, -(-sum(shards.sizes) // MOST_CLIPS))
        number = 0
        for shard, size in enumerate(shards.sizes):
            wanted = [position for position in range(size) if (number + position) % step == 0]
            number += size
            for _, clip in shards.read(shard, wanted):
                gathered.add(clip, manifest)
    return gathered


def totals(manifest: DatasetManifest, split: str | None = None) -> dict[str, Any]:
    shards = [shard for shard in manifest.shards if split in (None, shard.split)]
    frames = sum(shard.num_frames for shard in shards)
    speakers = sum(len(names) for name, names in manifest.splits.items() if split in (None, name))
    clips = sum(shard.num_samples for shard in shards)
    return {"clips": clips, "shards": len(shards), "hours": frames / FPS / 3600, "duration": clock(frames / FPS),
            "speakers": speakers}  # fmt: skip


def refused(records: Sequence[VideoRecord] | Any) -> list[dict[str, Any]]:
    """Reasons why videos or stretches of them are not in the data set, the most frequent first."""
    groups: dict[str, dict[str, Any]] = {}
    for record in records:
        for key, reason, kind in refusals(record):
            group = groups.setdefault(
                kind, {"example": reason.split(" s: ", 1)[-1], "videos": 0, "stretches": 0, "shown": []}
            )
            group["stretches" if record.item.clips else "videos"] += 1
            picture = record.pictures.get(key)
            if picture and len(group["shown"]) < THUMBNAILS:
                group["shown"].append({"file": record.file, "picture": picture})
    return sorted(groups.values(), key=lambda group: -group["videos"] - group["stretches"])


def samples(root: Path, manifest: DatasetManifest, keys: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """A few clips of each split with their sound, small enough to be held by the page."""
    for split, names in keys.items():
        for key in names[:: max(1, len(names) // SAMPLES)][:SAMPLES]:
            try:
                video = read_video(root, manifest, split, key)
                sound = read_sounds(root, manifest, split, [key]).get(key)
                if video is not None:
                    yield {"split": split, "key": key, "data": base64.b64encode(_small_video(video, sound)).decode()}
            except UserError:
                continue  # moda lint names it


def _small_video(data: bytes, sound: np.ndarray | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.mp4"
        with VideoWriter(path, SAMPLE_SIDE, FPS, sound, crf=26, audio_bitrate=48_000) as writer:
            for frame in iterate_frames(data):
                way = cv2.INTER_AREA if len(frame) > SAMPLE_SIDE else cv2.INTER_CUBIC
                writer.write(cv2.resize(frame, (SAMPLE_SIDE, SAMPLE_SIDE), interpolation=way))
        return path.read_bytes()


def licences(request: Mapping[str, Any], manifest: DatasetManifest) -> list[tuple[str, str]]:
    """(what, its licence) of the videos and of every model that something in the data set was measured with."""
    corpus = request.get("corpus")
    rights = CORPORA[corpus].licence if corpus in CORPORA else "whatever its owners allow; moda does not know"
    targets = f"{manifest.codec.get('_target_')} {manifest.audio_encoder}"
    weights = [name for part, names in RUNS_ON.items() if part in targets for name in names]
    stages = ("identity", "emotion", "voice", "sync")
    weights += [
        str(request[f"{stage}_fingerprint"]).split()[0] for stage in stages if request.get(f"{stage}_fingerprint")
    ]
    models = [(f"{REGISTRY[name].purpose} ({name})", REGISTRY[name].licence) for name in weights if name in REGISTRY]
    return [(f"the videos{f' ({corpus})' if corpus else ''}", rights), *models]


def _motion(gathered: Gathered) -> list[Values]:
    titles = {
        "seconds": "length of a clip (s)", "pitch": "pitch (°)", "yaw": "yaw (°)", "roll": "roll (°)",
        "turning": "turning of the head (° a second)", "lips": "motion of the lips (standard deviation)",
    }  # fmt: skip
    return [Values(title, gathered.values[name]) for name, title in titles.items()]


def _spread(pictures: Sequence[str]) -> Sequence[str]:
    """A few of them, from all over the set."""
    return pictures[:: max(1, len(pictures) // (2 * THUMBNAILS))]


def _environment() -> jinja2.Environment:
    """Templates of this package, and the style that all pages share."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("moda.data_prep"), jinja2.PackageLoader("moda.eval")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
