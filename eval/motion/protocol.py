"""How a run is scored, from its export and the held-out clips to results.json and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from moda.codec.base import MotionCodec
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.eval.metrics.base import Metric, Score, score_all
from moda.eval.motion.baselines import TrainingClips
from moda.eval.motion.clips import HeldOutClip, LeftOut, load_clips
from moda.eval.motion.codebook import codebook_notes
from moda.eval.motion.emotions import INTENSITIES, NEUTRAL, EmotionClassifier, model_scores, truth_scores
from moda.eval.motion.long_form import TAKES, measure_long_form
from moda.eval.motion.rows import ROWS, STANDARD, Performance, Settings
from moda.eval.motion.showcase import choose_examples
from moda.eval.motion.speed import measure_speed
from moda.eval.motion.sync_expert import load_judge, sync_scores
from moda.eval.takes import Take
from moda.flow.guidance import Scale
from moda.flow.rectified import RectifiedFlow
from moda.generation.faces import Faces
from moda.generation.pipeline import check_sampling, load_codec, load_sampler, resolve_device
from moda.generation.sampler import MotionSampler
from moda.interop.export import Export, load_export
from moda.motion.statistics import MotionStatistics
from moda.progress import progress

SPANS = ("speech", "clip")
OF_SAMPLING = ("steps", "guidance", "solver", "shift", "guidance_interval")


@dataclass(frozen=True)
class Protocol:
    """What ``conf/evaluate.yaml`` describes.

    run: run or export folder. data: data set, by default the one the run was trained on. out: folder
    of the results, by default RUN/evaluation. rows: names in ``moda.eval.motion.rows.ROWS``; by default all that
    the run can have, without the slow codec_ceiling. metrics: columns. steps, guidance, solver, shift, guidance_interval: of
    sampling, by default the run's own. sync_expert: run of one that judges lips and sound.
    clips: most clips scored. span: ``speech`` compares lips from the first to the last sound, ``clip``
    all frames; silence at both ends of every clip correlates by itself. examples: clips shown.
    emotion_clips: so many are asked for every emotion. minutes: of speech that the model goes through without a cut.
    video: a generated video to show in the report. timing: measure real-time factors, which renders a clip.
    """

    run: Path
    metrics: Mapping[str, Metric]
    data: Path | None = None
    out: Path | None = None
    split: str = "test"
    rows: Sequence[str] | None = None
    clips: int | None = 50
    seeds: int = 2
    derangements: int = 3
    steps: int | None = None
    guidance: Scale | None = None
    solver: str | None = None
    shift: float | None = None
    guidance_interval: Sequence[float] | None = None
    sync_expert: Path | None = None
    span: str = "speech"
    seed: int = 0
    device: str = "auto"
    emotion_clips: int = 0
    minutes: float = 0.0
    examples: int = 3
    video: Path | None = None
    timing: bool = True

    def __post_init__(self) -> None:
        if self.rows is not None and (not self.rows or any(row not in ROWS for row in self.rows)):
            raise UserError(f"rows must name some of {', '.join(ROWS)}, not {list(self.rows)}")
        if self.span not in SPANS:
            raise UserError(f"span must be one of {', '.join(SPANS)}, not {self.span!r}")
        for name in ("seeds", "derangements", "examples") + (("clips",) if self.clips is not None else ()):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.emotion_clips < 0 or not (self.minutes == 0 or 0.5 <= self.minutes <= 60):
            raise UserError(
                f"emotion_clips {self.emotion_clips} must be 0 or more and minutes {self.minutes:g} 0 or from 0.5 to 60"
            )
        check_sampling(self.seed, self.steps, self.guidance)
        # whatever the run, this refuses what cannot be
        RectifiedFlow().sampled(self.solver, self.shift, self.guidance_interval)
        if self.video is not None and not self.video.is_file():
            raise UserError(f"video {self.video} does not exist; leave it out or generate it first")


@dataclass(frozen=True)
class Evaluation:
    """Everything that the report is made of. takes, scores: row name to its clips' takes, to its metrics' scores."""

    protocol: Protocol
    export: Export
    root: Path
    manifest: DatasetManifest
    codec: MotionCodec
    faces: Faces
    settings: Settings
    clips: list[HeldOutClip]
    left_out: list[LeftOut]
    takes: dict[str, list[list[Take]]]
    scores: dict[str, dict[str, Score]]
    examples: dict[str, str]  # key of a clip to why it is shown
    notes: list[str]


def evaluate(protocol: Protocol) -> Evaluation:
    """Score the run: sample every row, apply every metric."""
    export = load_export(protocol.run)
    root, manifest, notes = find_data(export, protocol.run, protocol.data, protocol.split)
    sampler = _sampler(protocol, export)
    judge = protocol.sync_expert and load_judge(protocol.sync_expert, export, manifest.splits.get(protocol.split, ()))
    codec = load_codec(manifest.codec, manifest.codec_fingerprint)
    clips, left_out = load_clips(root, manifest, protocol.split, most=protocol.clips, seed=protocol.seed)
    silent = sum(clip.waveform is None for clip in clips)
    if silent:
        notes.append(
            f"{silent} of {len(clips)} clips have no sound in the data set: their audio-visual columns are empty, and "
            "their lips are compared over all frames, silence at both ends included"
        )
    faces = Faces(codec, root, manifest, protocol.split)
    has_training = any(shard.split == "train" for shard in manifest.shards)
    settings = Settings(
        sampler, export.statistics, protocol.seeds, protocol.derangements, protocol.steps, protocol.guidance, protocol.seed,
        vae=export.vae, faces=faces, notes=notes,
        training=cache(lambda: TrainingClips.load(root, manifest, protocol.seed)) if has_training else None,
    )  # fmt: skip
    performances = _perform(protocol.rows, clips, settings, notes)
    takes = {
        row: [_takes_of(clip, all_, codec, export.statistics, protocol.span) for clip, all_ in zip(clips, found, strict=True)]
        for row, found in performances.items()
    }  # fmt: skip
    scores = {row: score_all(protocol.metrics, found, seed=protocol.seed) for row, found in takes.items()}
    if judge:
        expert, cautions = judge
        notes += cautions
        for row, found in takes.items():
            scores[row] |= sync_scores(expert, clips, found, protocol.seed)
    notes += codebook_notes(export, clips)
    _probe(protocol, clips, settings, scores, notes)
    examples = choose_examples(scores.get("model", {}).get("lip_correlation"), clips, protocol.examples)
    if "model" in scores and protocol.timing:
        scores["model"] |= _speed(next(c for c in clips if c.key in examples), settings, faces, notes)
    return Evaluation(
        protocol, export, root, manifest, codec, faces, settings, clips, left_out, takes, scores, examples, notes
    )


def _sampler(protocol: Protocol, export: Export) -> MotionSampler | None:
    """The run's, with what the protocol asks of it, which is refused now and not after the other rows; None for a VAE."""
    if export.task != "motion_vae":
        sampler = load_sampler(export, protocol.device)
        sampler.flow = sampler.flow.sampled(protocol.solver, protocol.shift, protocol.guidance_interval)
        sampler.flow.plan(protocol.steps, protocol.guidance)
        return sampler
    if idle := [name for name in OF_SAMPLING if getattr(protocol, name) is not None]:
        raise UserError(f"{', '.join(idle)}: {protocol.run} is a motion VAE, which samples nothing; leave them out")
    export.vae.to(resolve_device(protocol.device))
    return None


def _probe(
    protocol: Protocol,
    clips: list[HeldOutClip],
    settings: Settings,
    scores: dict[str, dict[str, Score]],
    notes: list[str],
) -> None:
    """What is asked of the model beyond the clips: every emotion, and minutes of speech."""
    some = clips[: protocol.emotion_clips]
    if some and "model" in scores and settings.training:
        try:
            classifier = EmotionClassifier.fit(settings.training())
        except UserError as error:
            notes.append(str(error))
        else:
            kinds = sum(kind != NEUTRAL for kind in classifier.kinds)
            with progress("asking for emotions", len(some) * kinds * len(INTENSITIES), "clips") as advance:
                scores["model"] |= model_scores(classifier, some, replace(settings, advance=advance))
            if "ground_truth" in scores:
                scores["ground_truth"] |= truth_scores(classifier, clips, settings)
    if protocol.minutes and "model" in scores:
        with progress(f"speaking for {protocol.minutes:g} minutes", TAKES, "takes") as advance:
            scores["model"] |= measure_long_form(clips, replace(settings, advance=advance), protocol.minutes)


def _speed(clip: HeldOutClip, settings: Settings, faces: Faces, notes: list[str]) -> dict[str, Score]:
    try:
        face = faces.of(clip.key)
    except UserError as error:
        notes.append(f"rendering was not timed: {error}")
        face = None
    return measure_speed(clip, settings, faces.codec, face)


def find_data(export: Export, run: Path, data: Path | None, split: str) -> tuple[Path, DatasetManifest, list[str]]:
    """The data set to score on, and what a reader should know about it.

    Raises UserError when it cannot be found or its motion or speech features are not the model's.
    """
    trained_on = (export.config.get("data") or {}).get("path")
    given = data or trained_on
    if given is None:
        raise UserError(f"{run} does not say which data set it was trained on; give data.path=DIR")
    root = Path(given)
    if data is None and not root.is_dir():
        raise UserError(f"the data set {root} that {run} was trained on is not there; give data.path=DIR")
    manifest = DatasetManifest.load(root)
    if manifest.layout != export.layout:
        raise UserError(f"{root} has motion layout {manifest.layout.name}, {run} has {export.layout.name}")
    for what, ours, theirs in (
        ("motion codec", manifest.codec_fingerprint, export.codec_fingerprint),
        ("speech encoder", manifest.audio_fingerprint, export.audio_fingerprint),
    ):
        if ours != theirs:
            raise UserError(
                f"{root} was made with another {what} than {run} was trained with "
                f"({ours[:12]}, {theirs[:12]}); prepare the data set with the run's own"
            )
    return root, manifest, _cautions(export, split, root, manifest)


def _cautions(export: Export, split: str, root: Path, manifest: DatasetManifest) -> list[str]:
    notes = []
    if manifest.fingerprint != export.dataset_fingerprint:
        notes.append(
            f"{root} is not the data set that the run was trained on ({manifest.fingerprint[:12]}, "
            f"{export.dataset_fingerprint[:12]}): whether its speakers are held out is not known"
        )
    if split == "train":
        notes.append("split train was trained on: these numbers are not held-out numbers")
    else:
        shared = sorted(set(manifest.splits.get("train", ())) & set(manifest.splits.get(split, ())))
        if shared:
            notes.append(f"speakers of the training split are scored: {', '.join(shared)}; prepare the data set again")
    return notes


def _perform(
    rows: Sequence[str] | None, clips: list[HeldOutClip], settings: Settings, notes: list[str]
) -> dict[str, list[list[Performance]]]:
    able = []
    for row in STANDARD if rows is None else rows:
        missing, few = ROWS[row].lacks(settings), ROWS[row].needs_clips(len(clips))
        if not (missing or few):
            able.append(row)
        elif rows is not None or not missing:
            notes.append(f"the row '{ROWS[row].title}' is left out: {missing or few}")
    total = sum(ROWS[row].repetitions(settings) for row in able) * len(clips)
    with progress("sampling", total, "clips") as advance:
        return {row: ROWS[row].perform(clips, replace(settings, advance=advance)) for row in able}


def _takes_of(
    clip: HeldOutClip, performances: Sequence[Performance], codec: MotionCodec, statistics: MotionStatistics, span: str
) -> list[Take]:
    """A clip's performances beside its truth, over the frames that both have."""
    truth_lips, loudness = codec.lip_aperture(clip.clip.motion), clip.loudness
    takes = []
    for performance in performances:
        frames = min(clip.num_frames, len(performance.motion))
        takes.append(
            Take(
                key=clip.key,
                motion=performance.motion[:frames],
                truth=clip.clip.motion[:frames],
                lips=codec.lip_aperture(performance.motion[:frames]),
                truth_lips=truth_lips[:frames],
                loudness=None if loudness is None else loudness[:frames],
                speech=_common(clip.speech, performance.driver.speech, frames)
                if span == "speech"
                else slice(0, frames),
                statistics=statistics,
            )
        )
    return takes


def _common(own: slice, driver: slice, frames: int) -> slice:
    """Where the clip's own sound and the driver's are both between their first and last sound.

    Outside it both mouths are shut, whatever was said: correlation that no control could be free of.
    """
    return slice(max(own.start, driver.start), max(own.start, driver.start, min(own.stop, driver.stop, frames)))
