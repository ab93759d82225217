"""Shards from what was read off the videos: new ones beside those that are there, which are never written again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from moda.data.schema import SPLITS, ClipRecord, DatasetManifest, Shard
from moda.data.writer import Sample, dataset_fingerprint, plan_shards, write_shard
from moda.data_prep.extract import Extractor
from moda.data_prep.items import SAME_CONTENT, ClipItem
from moda.data_prep.records import VideoRecord, write_records
from moda.data_prep.settings import FPS, PrepareSettings
from moda.errors import UserError
from moda.motion.statistics import StatisticsAccumulator

AT_LEAST = 4  # shards of a split, where a data set begins


def pack(
    settings: PrepareSettings,
    models: Extractor,
    request: Mapping[str, Any],
    records: Sequence[VideoRecord],
    splits: Mapping[str, Sequence[str]],
    work: Path,
    before: DatasetManifest | None,
) -> DatasetManifest:
    """Write the clips of ``records`` as shards and return the manifest of everything, not saved yet.

    Clips are spread over the new shards in an order that mixes speakers; every shard but the last few is
    full to within one clip of the others. work: WorkFolder.path / "videos". before: what is there already.
    Until the manifest is saved, nothing that it names has changed.
    """
    out = settings.out
    sealed = before.shards if before else ()
    _remove_unsealed(out, before)
    codec, encoder = models.codec, models.encoder
    split_of = {speaker: split for split, names in splits.items() for speaker in names}
    statistics = StatisticsAccumulator(codec.layout)
    if before:
        statistics.add_result(before.statistics)
    shards: list[Shard] = []
    for split in SPLITS:
        clips = [
            (c, record) for record in records for c in record.item.clips if split_of[record.labels.speaker] == split
        ]
        clips.sort(key=lambda pair: sha256(pair[0].key.encode()).digest())
        first = sum(shard.split == split for shard in sealed)
        parts = plan_shards(len(clips), settings.shard_size, 1 if first else AT_LEAST) if clips else []
        for index, part in enumerate(parts, first):
            samples = _samples(clips[part], split, work, statistics if split == "train" else None)
            shards.append(write_shard(out, split, index, samples))
    number = len(before.videos) if before else 0
    name = write_records(out, number, request, records)
    shards = sorted([*sealed, *shards], key=lambda shard: (SPLITS.index(shard.split), shard.features))
    return DatasetManifest(
        codec=settings.codec,
        codec_fingerprint=codec.fingerprint,
        audio_encoder=settings.audio,
        audio_fingerprint=encoder.fingerprint,
        audio_layers=encoder.num_layers,
        audio_dim=encoder.dim,
        identity_dim=codec.identity_dim,
        statistics=statistics.result(),
        splits={split: list(names) for split, names in splits.items()},
        shards=tuple(shards),
        fingerprint=dataset_fingerprint(shards, settings.codec, codec.fingerprint, settings.audio, encoder.fingerprint),
        videos=(*(before.videos if before else ()), name),
    )


def without_repeats(records: Sequence[VideoRecord], known: Mapping[str, VideoRecord]) -> list[VideoRecord]:
    """``records``, where of files of the same content only the first keeps its clips."""
    first = {record.item.sha256: record.file for record in known.values() if record.item.clips}
    kept = []
    for record in records:
        content = record.item.sha256
        if record.item.clips and (other := first.setdefault(content, record.file)) != record.file:
            item = replace(record.item, clips=[], rejected=f"{SAME_CONTENT}{other}")
            record = replace(record, item=item, pictures={})
        kept.append(record)
    return kept


def _remove_unsealed(out: Path, before: DatasetManifest | None) -> None:
    """Shards of a run that was stopped while packing."""
    shards = before.shards if before else ()
    sealed = {name for shard in shards for name in (shard.features, shard.video)}
    for split in SPLITS:
        for path in (out / split).glob("*.tar"):
            if path.relative_to(out).as_posix() not in sealed:
                path.unlink()


def _samples(
    clips: Sequence[tuple[ClipItem, VideoRecord]], split: str, work: Path, statistics: StatisticsAccumulator | None
) -> Iterator[Sample]:
    for clip, video in clips:
        folder, labels = work / video.digest, video.labels
        record = ClipRecord(
            key=clip.key,
            split=split,
            speaker=labels.speaker,
            source=video.file,
            start=clip.start / FPS,
            num_frames=clip.num_frames,
            fps=FPS,
            crop=clip.crop,
            emotion=labels.emotion or clip.emotion,
            emotion_intensity=labels.intensity if labels.emotion else clip.intensity,
            quality=clip.quality,
            notes=(*clip.notes, *labels.notes),
        )
        try:
            with np.load(folder / f"{clip.key}.npz", allow_pickle=False) as arrays:
                motion, identity, audio = arrays["motion"], arrays["identity"], arrays["audio"]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise UserError(f"{folder} is damaged ({error}); delete it and run the same command again") from error
        if statistics is not None:
            statistics.update(motion)
        yield Sample(record, motion, identity, audio, folder / f"{clip.key}.mp4", folder / f"{clip.key}.flac")
