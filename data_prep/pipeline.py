"""The run: every video once, in worker processes, then shards, manifest and report.

    OUT/.work/DIGEST/      what was read off one video, complete (it has item.json) or not there
    OUT/dataset.json       written last; with it the data set is finished and .work goes

An interrupted run goes on with the videos that are missing.
"""

import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from moda.data.schema import MANIFEST_NAME, SPLITS, ClipRecord, DatasetManifest, Shard
from moda.data.writer import Sample, dataset_fingerprint, plan_shards, write_shard
from moda.data_prep.extract import ClipItem, Extractor
from moda.data_prep.report import REPORT_NAME, VideoLine, describe, rejection_lines, summary_lines, write_report
from moda.data_prep.settings import FPS, PrepareSettings
from moda.data_prep.sources import Source, find_sources, read_labels, state_of
from moda.data_prep.splits import split_speakers
from moda.data_prep.workers import extract_all
from moda.errors import UserError
from moda.files import read_json
from moda.motion.statistics import StatisticsAccumulator

WORK = ".work"


def prepare(settings: PrepareSettings) -> DatasetManifest:
    """Turn the videos below ``settings.source`` into a data set at ``settings.out``.

    A finished data set made from the same files with the same settings is returned as it is. Raises
    UserError when no clip is usable, and when ``out`` holds anything else.
    """
    sources = find_sources(settings.source)[: settings.limit]
    models = Extractor.of(settings)
    request = _request(settings, models, sources)
    if (manifest := _finished(settings.out, request)) is not None:
        shutil.rmtree(settings.out / WORK, ignore_errors=True)
        count = sum(shard.num_samples for shard in manifest.shards)
        print(f"nothing to do: {settings.out} holds this data set, {count} clips")
        return manifest

    work = settings.out / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to out={settings.out}: {error.strerror}; choose another folder") from error
    versions = {name: request[name] for name in ("codec_fingerprint", "audio_fingerprint")}
    state = sha256(json.dumps(settings.extraction() | versions, sort_keys=True).encode()).hexdigest()
    items = extract_all(settings, sources, work, state, models if settings.workers == 0 else None)
    videos = [VideoLine(s, items[s.digest], read_labels(s, settings.speaker_from)) for s in sources]
    if not any(video.item.clips for video in videos):
        print("\n".join(rejection_lines(videos)))
        shutil.rmtree(work)
        raise UserError(f"no clip can be made of the {len(videos)} videos in {settings.source}, for the reasons above")

    manifest = _pack(settings, models, videos, work)
    report = describe(request, videos, manifest)
    write_report(settings.out, report, videos, work)
    manifest.save(settings.out)
    shutil.rmtree(work)
    print("\n".join(summary_lines(report, settings.out)))
    return manifest


def _request(settings: PrepareSettings, models: Extractor, sources: list[Source]) -> dict[str, Any]:
    """What was asked for, to recognise a data set that already answers it."""
    files = "\n".join(f"{s.digest} {state_of(s.path)} {state_of(s.sidecar)}" for s in sources)
    request = settings.request() | {
        "codec_fingerprint": models.codec.fingerprint,
        "audio_fingerprint": models.encoder.fingerprint,
        "files": sha256(files.encode()).hexdigest(),
    }
    return json.loads(json.dumps(request))  # the form in which it is found again in the report


def _finished(out: Path, request: dict[str, Any]) -> DatasetManifest | None:
    """The data set at ``out`` if it answers ``request``; None if a run may begin or go on there."""
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; give a folder")
    if not (out / MANIFEST_NAME).is_file():
        if out.is_dir() and not (out / WORK).is_dir() and any(out.iterdir()):
            raise UserError(f"out={out} is not empty and holds no data set; give an empty or a new folder")
        return None
    manifest = DatasetManifest.load(out)
    before = read_json(out / REPORT_NAME)["request"] if (out / REPORT_NAME).is_file() else {}
    differing = [name for name in request if before.get(name) != request[name]]
    for kind in ("codec", "audio"):  # another component has another fingerprint: say it once
        if {kind, f"{kind}_fingerprint"} <= set(differing):
            differing.remove(f"{kind}_fingerprint")
    if not differing:
        return manifest
    if differing == ["files"]:
        what = "from other files: some were added, removed or changed since"
    else:
        what = "with other settings: " + ", ".join(
            f"{name} was {before.get(name)!r:.60}, now {request[name]!r:.60}" for name in differing if name != "files"
        )
    raise UserError(f"out={out} already holds a data set, made {what}; give another out= or delete it")


def _pack(settings: PrepareSettings, models: Extractor, videos: list[VideoLine], work: Path) -> DatasetManifest:
    """Write the shards of all splits; clips are spread over the shards in an order that mixes speakers."""
    s = settings.splits
    speakers = {video.labels.speaker for video in videos if video.item.clips}
    splits = split_speakers(speakers, s.val, s.test, s.pinned, s.seed, s.expert)
    split_of = {speaker: split for split, names in splits.items() for speaker in names}
    codec, encoder = models.codec, models.encoder
    statistics = StatisticsAccumulator(codec.layout)
    shards: list[Shard] = []
    for split in SPLITS:
        shutil.rmtree(settings.out / split, ignore_errors=True)  # of a run that was stopped while packing
        clips = [
            (clip, video) for video in videos for clip in video.item.clips if split_of[video.labels.speaker] == split
        ]
        clips.sort(key=lambda pair: sha256(pair[0].key.encode()).digest())
        for index, part in enumerate(plan_shards(len(clips), settings.shard_size) if clips else []):
            samples = _samples(clips[part], split, work, statistics if split == "train" else None)
            shards.append(write_shard(settings.out, split, index, samples))
    return DatasetManifest(
        codec=settings.codec,
        codec_fingerprint=codec.fingerprint,
        audio_encoder=settings.audio,
        audio_fingerprint=encoder.fingerprint,
        audio_layers=encoder.num_layers,
        audio_dim=encoder.dim,
        identity_dim=codec.identity_dim,
        statistics=statistics.result(),
        splits=splits,
        shards=tuple(shards),
        fingerprint=dataset_fingerprint(shards, settings.codec, codec.fingerprint, settings.audio, encoder.fingerprint),
    )


def _samples(
    clips: list[tuple[ClipItem, VideoLine]], split: str, work: Path, statistics: StatisticsAccumulator | None
) -> Iterator[Sample]:
    for clip, video in clips:
        folder, labels = work / video.source.digest, video.labels
        record = ClipRecord(
            key=clip.key,
            split=split,
            speaker=labels.speaker,
            source=video.source.name,
            start=clip.start / FPS,
            num_frames=clip.num_frames,
            fps=FPS,
            crop=clip.crop,
            emotion=labels.emotion,
            emotion_intensity=labels.intensity,
            quality=clip.quality,
            notes=(*clip.notes, *labels.notes),
        )
        with np.load(folder / f"{clip.key}.npz", allow_pickle=False) as arrays:
            motion, identity, audio = arrays["motion"], arrays["identity"], arrays["audio"]
        if statistics is not None:
            statistics.update(motion)
        yield Sample(record, motion, identity, audio, folder / f"{clip.key}.mp4", folder / f"{clip.key}.flac")
