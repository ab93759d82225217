"""The videos of a run, made before they are scored: the model's, those of its control, and the truth.

FOLDER/ground_truth/KEY.mp4        as filmed, bit by bit as the data set holds it; KEY.wav beside it
       model/KEY.mp4               the face of the first frame, driven by the clip's sound
       mismatched_audio/KEY.mp4    driven by another clip's sound as far as both last, with its own beside it
       speed.json                  real-time factors
       videos.json                 what they were made from; made again when that changes
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from moda.audio.encoder import SAMPLE_RATE
from moda.codec.base import MotionCodec
from moda.data.media import read_video
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.eval.motion.clips import HeldOutClip, LeftOut, load_clips
from moda.eval.motion.protocol import find_data
from moda.eval.motion.rows import Settings, mismatched_audio, model
from moda.eval.motion.speed import measure_speed
from moda.eval.videos.parallel import for_each
from moda.eval.videos.protocol import check_number
from moda.eval.videos.reading.folder import Videos
from moda.files import atomic_path, read_json, sha256_of, write_json
from moda.flow.guidance import Scale
from moda.generation.faces import Faces
from moda.generation.pipeline import check_sampling, load_codec, load_sampler
from moda.generation.video import VideoWriter
from moda.interop.export import EXPORT_NAME, Export, export_directory, load_export

PERFORMED = {"model": model, "mismatched_audio": mismatched_audio}
RECORD, SPEED = "videos.json", "speed.json"


@dataclass(frozen=True)
class RunSettings:
    """Which clips of which data set a run is shown, and how it samples; None is the run's own.

    clips: most clips, drawn by ``seed``.
    """

    run: Path
    data: Path | None = None
    split: str = "test"
    clips: int | None = 50
    steps: int | None = None
    guidance: Scale | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (("clips", 1), ("steps", 1), ("seed", 0)):
            if getattr(self, name) is not None or name == "seed":
                check_number(name, getattr(self, name), whole=True, least=least)
        for name, scale in _scales(self.guidance).items():
            check_number(name, scale, whole=False, least=0)
        check_sampling(self.seed, self.steps, self.guidance)


def _scales(guidance: Scale | None) -> dict[str, float]:
    """What a command line calls each scale -> its value."""
    if isinstance(guidance, Mapping):
        return {f"guidance.{name}": scale for name, scale in guidance.items()}
    return {} if guidance is None else {"guidance": guidance}


@dataclass(frozen=True)
class RunVideos:
    """Files by clip. sounds: of the truth. mismatched: empty where there is a single clip.

    speed: name of a real-time factor to its value, as ``moda.eval.motion.speed`` measures them.
    """

    reference: Videos
    sounds: Videos
    model: Videos
    mismatched: Videos
    codec_spec: dict[str, Any]
    speed: dict[str, float | None]
    left_out: list[LeftOut]
    notes: list[str]


@dataclass(frozen=True)
class _Render:
    """A video to be made of motion (T, D) on the face of a clip, with (N,) sound beside it."""

    out: Path
    motion: np.ndarray
    sound: np.ndarray
    root: Path
    split: str
    key: str
    codec_spec: dict[str, Any]
    codec_fingerprint: str


def videos_of_run(
    settings: RunSettings, folder: Path, processes: int = 1, max_seconds: float = float("inf")
) -> RunVideos:
    """Sample and render what is not in ``folder`` yet; clips that cannot be are left out with their reason.

    max_seconds: of a clip that are looked at; the rest is neither sampled nor rendered.

    Raises UserError for a run that cannot be sampled, a data set without video and sound, and where no
    clip can be rendered.
    """
    export = load_export(settings.run)
    root, manifest, notes = find_data(export, settings.run, settings.data, settings.split)
    clips, left_out = _clips(settings, root, manifest)
    clips = [clip.first(max_seconds) for clip in clips]
    _clear_if_other(folder, _made_from(settings, export, manifest, clips))
    codec = load_codec(dict(export.codec_spec), export.codec_fingerprint)
    faces = Faces(codec, root, manifest, settings.split)
    for clip in clips:
        _write_truth(folder / "ground_truth", clip, faces)
    left_out += _perform(settings, export, clips, faces, folder, processes)
    made = {
        row: {c.key: _video(folder, row, c) for c in clips if _video(folder, row, c).is_file()} for row in PERFORMED
    }
    if not made["model"]:
        raise UserError(f"no video of {settings.run} could be made: {'; '.join({item.reason for item in left_out})}")
    truth = {clip.key: _video(folder, "ground_truth", clip) for clip in clips}
    return RunVideos(
        reference=truth,
        sounds={key: video.with_suffix(".wav") for key, video in truth.items()},
        model=made["model"],
        mismatched=made["mismatched_audio"],
        codec_spec=dict(export.codec_spec),
        speed=read_json(folder / SPEED),
        left_out=left_out,
        notes=notes,
    )


def _clips(settings: RunSettings, root: Path, manifest: DatasetManifest) -> tuple[list[HeldOutClip], list[LeftOut]]:
    """Those that are scored, all with sound, and those that are not."""
    clips, left_out = load_clips(root, manifest, settings.split, most=settings.clips, seed=settings.seed)
    left_out += [LeftOut(clip.key, "the data set holds no sound of it") for clip in clips if clip.waveform is None]
    clips = [clip for clip in clips if clip.waveform is not None]
    if not clips:
        raise UserError(
            f"{root} holds no video and sound of its clips; prepare it again with moda prepare, or give protocol=motion"
        )
    return clips, left_out


def _perform(
    settings: RunSettings, export: Export, clips: list[HeldOutClip], faces: Faces, folder: Path, processes: int
) -> list[LeftOut]:
    """Sample and render what ``PERFORMED`` lacks, and measure the speed once; returns what cannot be rendered."""
    missing = {
        row: [clip for clip in clips if not _video(folder, row, clip).is_file()]
        for row in PERFORMED
        if row == "model" or len(clips) > 1  # a single clip has no other's sound
    }
    timed = (folder / SPEED).is_file()
    if timed and not any(missing.values()):
        return []
    sampler = load_sampler(export, settings.device)
    sampling = Settings(sampler, export.statistics, 1, 1, settings.steps, settings.guidance, settings.seed)
    if not timed:
        write_json(folder / SPEED, _speed(clips, sampling, faces))
    tasks = []
    for row, lacking in missing.items():
        wanted = {clip.key for clip in lacking}
        performed = PERFORMED[row](clips, sampling) if wanted else []  # of all clips: noise and pairs depend on them
        for clip, takes in zip(clips, performed, strict=False):
            if clip.key in wanted and clip.waveform is not None:
                tasks.append(
                    _Render(
                        _video(folder, row, clip), takes[0].motion[: clip.num_frames], clip.waveform, faces.root, settings.split, clip.key,
                        dict(export.codec_spec), export.codec_fingerprint,
                    )
                )  # fmt: skip
    failed = for_each(_render, tasks, processes, "rendering")
    return [LeftOut(tasks[number].key, reason) for number, reason in failed.items()]


def _video(folder: Path, row: str, clip: HeldOutClip) -> Path:
    return folder / row / f"{clip.key}.mp4"


def _made_from(
    settings: RunSettings, export: Export, manifest: DatasetManifest, clips: Sequence[HeldOutClip]
) -> dict[str, Any]:
    """What the videos depend on, in full also where the run's own is used; the export names its weights by their hashes."""
    flow = export.flow
    return {
        "export": sha256_of(export_directory(settings.run) / EXPORT_NAME),
        "dataset_fingerprint": manifest.fingerprint,
        "split": settings.split,
        "clips": {clip.key: clip.num_frames for clip in clips},
        "steps": settings.steps or flow.steps,
        "guidance": dict(flow.guidance_of(settings.guidance).scales),
        "guidance_interval": list(flow.guidance_interval),
        "solver": _named(flow.solver),
        "grid": _named(flow.grid),
        "seed": settings.seed,
        "codec": {"spec": dict(export.codec_spec), "fingerprint": export.codec_fingerprint},
    }


def _named(function: Callable[..., Any]) -> dict[str, Any]:
    """A function by its name, and what is bound to it."""
    inner = function.func if isinstance(function, partial) else function
    bound = function.keywords if isinstance(function, partial) else {}
    return {"_target_": f"{inner.__module__}.{inner.__qualname__}", **bound}


def record_of(folder: Path) -> dict[str, Any]:
    """What the videos in ``folder`` were made from, as ``videos_of_run`` has recorded it."""
    return read_json(folder / RECORD)


def _clear_if_other(folder: Path, wanted: dict[str, Any]) -> None:
    """Remove videos that were made from anything else; those of an interrupted attempt at the same are kept."""
    record = folder / RECORD
    if record.is_file() and record_of(folder) != wanted:
        for row in ("ground_truth", *PERFORMED):
            shutil.rmtree(folder / row, ignore_errors=True)
        (folder / SPEED).unlink(missing_ok=True)
    write_json(record, wanted)


def _write_truth(folder: Path, clip: HeldOutClip, faces: Faces) -> None:
    video = folder / f"{clip.key}.mp4"
    if video.is_file() and video.with_suffix(".wav").is_file():
        return
    data = read_video(faces.root, faces.manifest, faces.split, clip.key)
    if data is None or clip.waveform is None:
        raise UserError(
            f"{faces.root} holds no video of {clip.key}; prepare it again with moda prepare, or give protocol=motion"
        )
    with atomic_path(video.with_suffix(".wav")) as temporary:
        soundfile.write(temporary, clip.waveform, SAMPLE_RATE, subtype="PCM_16")
    with atomic_path(video) as temporary:
        temporary.write_bytes(data)


def _speed(clips: Sequence[HeldOutClip], sampling: Settings, faces: Faces) -> dict[str, float | None]:
    """Real-time factors on the clip of median length whose face can be fitted."""
    for clip in sorted(clips, key=lambda clip: abs(clip.num_frames - np.median([c.num_frames for c in clips]))):
        try:
            face = faces.of(clip.key)
        except UserError:
            continue  # rendering names it
        return {name: score.value for name, score in measure_speed(clip, sampling, faces.codec, face).items()}
    return {}


@lru_cache(maxsize=1)
def _codec(spec: str, fingerprint: str) -> MotionCodec:
    """Built once a process."""
    return load_codec(json.loads(spec), fingerprint)


def _render(task: _Render) -> None:
    codec = _codec(json.dumps(task.codec_spec, sort_keys=True), task.codec_fingerprint)
    face = Faces(codec, task.root, DatasetManifest.load(task.root), task.split).of(task.key)
    with VideoWriter(task.out, codec.size, codec.layout.fps, task.sound, SAMPLE_RATE) as writer:
        for frame in codec.decode(face.portrait, task.motion):
            writer.write(frame)
