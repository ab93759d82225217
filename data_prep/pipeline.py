"""The run: every video once, in the tasks of a launcher, then shards, manifest and report.

    OUT/.work/       what has been read so far (``moda.data_prep.tasks``); goes when all of it is in shards
    OUT/dataset.json written last: with it the data set is whole, and what is in it is never written again

The same command again reads what is missing, and what has been added to the source since.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moda.data.schema import DatasetManifest
from moda.data_prep import launch
from moda.data_prep.corpora import get_corpus
from moda.data_prep.deny import denied_speakers, deny_notes, read_deny_list
from moda.data_prep.extract import Extractor
from moda.data_prep.known import Known, known_at, missing_of
from moda.data_prep.pack import pack, without_repeats
from moda.data_prep.pictures import pictures_of
from moda.data_prep.records import DENIED, VideoRecord
from moda.data_prep.report import describe, rejection_lines, summary_lines, write_report
from moda.data_prep.settings import PrepareSettings
from moda.data_prep.slurm_array import TASKS, Cluster, refuse_queued
from moda.data_prep.sources import Source, find_sources, passed_over, read_labels
from moda.data_prep.speakers import alike_across, alike_notes, join_speakers
from moda.data_prep.splits import split_speakers
from moda.data_prep.tasks import WorkFolder, WorkList, models_of, plan_tasks, run_task
from moda.errors import UserError


@dataclass(frozen=True)
class Found:
    """missing: videos that are not in the data set yet. request: what the data set is asked to be. notes: for the report."""

    known: Known
    missing: list[Source]
    request: Mapping[str, Any]
    notes: Sequence[str] = ()


def prepare(settings: PrepareSettings, cluster: Cluster | None = None) -> DatasetManifest | None:
    """Turn the videos below ``settings.source`` into a data set at ``settings.out``, or add to it those it lacks.

    cluster: what launcher=slurm asks for. None where a launcher has taken the work elsewhere. Raises
    UserError when no clip is usable, and when ``out`` holds a data set made with other settings, or
    anything else.
    """
    models = Extractor.of(settings)
    _refuse_idle(settings, models)
    found = _look(settings, models)
    deny = _denied_names(settings, found.known)  # now, not in the end
    if found.known.manifest is not None and not found.missing:
        records = list(found.known.records.values())
        _splits(settings, records, denied_speakers(records, records, deny), found.known.manifest)  # nobody may move
        _tidy(WorkFolder.of(settings.out), found.known)
        count = sum(shard.num_samples for shard in found.known.manifest.shards)
        print(f"nothing to do: {settings.out} holds this data set, {count} clips")
        return found.known.manifest
    work = _begin(settings.out)
    with work.lock():
        if settings.launcher == "slurm":
            refuse_queued(work)
        state = models.state
        todo = [source for source in found.missing if work.item(source, state) is None]
        if len(todo) < len(found.missing):
            print(f"going on: {len(found.missing) - len(todo)} of {len(found.missing)} videos were finished before")
        if todo:
            plan = WorkList(settings, state, plan_tasks(todo, settings.workers or 1, _count(settings)), time.time())
            work.save(plan)
            if not launch.run(work, plan, models, cluster):
                return None
        return finish(settings, models, work, found)


def run_planned(out: Path, number: int) -> None:
    """Task ``number`` of the work at ``out``, in this process."""
    work = WorkFolder.of(out)
    plan = work.load()
    if not 0 <= number < len(plan.tasks):
        raise UserError(f"{out} has no task {number}: they count from 0 to {len(plan.tasks) - 1}")
    run_task(work, plan, number, models_of(plan))


def finish_planned(out: Path) -> None:
    """Put what the tasks at ``out`` have read into shards; a UserError where they have left a video unread."""
    work = WorkFolder.of(out)
    plan = work.load()
    with work.lock():
        planned = [source for task in plan.tasks for source in task]
        unread = [source for source in planned if work.item(source, plan.state) is None]
        if unread:
            raise UserError(f"{len(unread)} of {len(planned)} videos have not been read, as {unread[0].name}; "
                            "the same moda prepare again reads them")  # fmt: skip
        models = models_of(plan)
        found = _look(plan.settings, models)
        read = [source for source in found.missing if work.item(source, plan.state) is not None]
        finish(plan.settings, models, work, replace(found, missing=read))


def _refuse_idle(settings: PrepareSettings, models: Extractor) -> None:
    """What is asked for must not be passed over in silence where its network is not used."""
    if settings.speaker_from == "face" and models.networks.identity is None:
        raise UserError("speaker_from=face needs a network that knows faces again; run: moda weights get dlib_faces")
    if settings.quality.min_speech is not None and models.networks.voice is None:
        raise UserError("quality.min_speech needs the network that hears speech, without networks.voice=none; "
                        "run: moda weights get silero_vad")  # fmt: skip


def _count(settings: PrepareSettings) -> int | None:
    return settings.tasks or (TASKS if settings.launcher == "slurm" else None)


def _look(settings: PrepareSettings, models: Extractor) -> "Found":
    """What there is to do."""
    folder = settings.source
    sources = get_corpus(settings.corpus).find(folder) if settings.corpus else find_sources(folder)
    notes = passed_over(folder, sources) if settings.corpus else []  # without one every video is taken
    request = _request(settings, models)
    known = known_at(settings.out, request)
    return Found(known, missing_of(sources, known, settings.limit), request, notes)


def finish(settings: PrepareSettings, models: Extractor, work: WorkFolder, found: "Found") -> DatasetManifest:
    """Put what was read off the missing videos into shards."""
    sources, known, request = found.missing, found.known, found.request
    state = models.state
    new = []
    for source in sources:
        item = work.item(source, state)
        if item is None:
            raise UserError(f"{source.name} was not read, or has changed since; run the same command again")
        labels = read_labels(source, settings.speaker_from)
        new.append(VideoRecord(source.name, source.digest, item, labels))
    said = [*known.records.values(), *new]
    new = without_repeats(new, known.records)
    if known.manifest is None and not any(record.item.clips for record in new):
        print("\n".join(rejection_lines(new)))
        shutil.rmtree(work.path)
        raise UserError(f"no clip can be made of the {len(new)} videos in {settings.source}, for the reasons above")
    recognizer = models.networks.identity
    if settings.speaker_from == "face" and recognizer is not None:
        new = join_speakers(new, known.records.values(), recognizer.apart)
    new = pictures_of(new, work.path / "videos")
    everything = [*known.records.values(), *new]
    deny = _denied_names(settings, known)
    request = {**request, DENIED: sorted(deny)}
    splits = _splits(settings, everything, denied_speakers(said, everything, deny), known.manifest)
    manifest = pack(settings, models, request, new, splits, work.path / "videos", known.manifest)
    everything = list({record.digest: record for record in everything}.values())
    alike = alike_across(everything, splits, recognizer.apart) if recognizer is not None else []
    notes = [*found.notes, *models.networks.notes, *deny_notes(said, deny), *alike_notes(alike)]
    report = describe(request, everything, manifest, notes)
    write_report(settings.out, report, everything)
    manifest.save(settings.out)
    shutil.rmtree(work.path)
    print("\n".join(summary_lines(report, settings.out)))
    return manifest


def _begin(out: Path) -> WorkFolder:
    work = WorkFolder.of(out)
    try:
        (work.path / "videos").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to out={out}: {error.strerror}; choose another folder") from error
    return work


def _tidy(work: WorkFolder, known: Known) -> None:
    """Remove what was left by a run that ended after it had saved the manifest; what waits for its shards stays."""
    if not work.path.is_dir():
        return
    with work.lock():
        if waiting := [digest for digest, item in work.items() if not known.holds(digest, item)]:
            print(f"kept: {len(waiting)} videos in {work.path} wait for the run that began them to go on")
        elif all(known.holds_file(source) for source in work.planned()):
            shutil.rmtree(work.path)


def _request(settings: PrepareSettings, models: Extractor) -> dict[str, Any]:
    """What was asked for, to recognise a data set that can be added to."""
    request = settings.request() | {f"{name}_fingerprint": value for name, value in models.fingerprints.items()}
    return json.loads(json.dumps(request))  # the form in which it is found again


def _denied_names(settings: PrepareSettings, known: Known) -> frozenset[str]:
    """Whom the list names now, and whom lists have named that the data set was made with."""
    return known.denied | (read_deny_list(settings.splits.deny) if settings.splits.deny is not None else frozenset())


def _splits(
    settings: PrepareSettings, records: Sequence[VideoRecord], denied: Sequence[str], before: DatasetManifest | None
) -> dict[str, list[str]]:
    s = settings.splits
    speakers = {record.labels.speaker for record in records if record.item.clips}
    pinned = {split: list(names) for split, names in s.pinned.items()}
    pinned["test"] = [*pinned.get("test", []), *denied]
    return split_speakers(speakers, s.val, s.test, pinned, s.seed, s.expert, before.splits if before else None)
