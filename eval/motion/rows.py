"""What is scored: the model, and what a reader needs in order to judge its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moda.data.schema import emotion_index
from moda.data.windows import hashed_seed
from moda.eval.motion.clips import HeldOutClip
from moda.eval.pairing import derangements
from moda.flow.guidance import Scale
from moda.generation.sampler import MotionSampler
from moda.motion.statistics import MotionStatistics

BATCH = 16  # clips sampled together; more gains nothing on a CPU


@dataclass(frozen=True)
class Performance:
    """Motion (T', D) in the layout's units, and the clip whose sound it was made for."""

    motion: np.ndarray
    driver: HeldOutClip


@dataclass(frozen=True)
class Settings:
    """How the model is run: seeds and derangements are numbers of repetitions, None is the run's own."""

    sampler: MotionSampler
    statistics: MotionStatistics
    seeds: int = 2
    derangements: int = 3
    steps: int | None = None
    guidance: Scale | None = None
    seed: int = 0
    advance: Callable[[int], object] = lambda clips: None


Performances = list[list[Performance]]  # clip -> repetitions


def ground_truth(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The motion that was measured: the best a row can be."""
    return [[Performance(clip.clip.motion, clip)] for clip in clips]


def mean_pose(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The mean of the training set, motionless: what knowing nothing scores."""
    mean = settings.statistics.mean.astype(np.float32)
    return [[Performance(np.tile(mean, (clip.num_frames, 1)), clip)] for clip in clips]


def mismatched_audio(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The model with another clip's sound: what moving like speech, but not like this speech, scores. Needs two clips."""
    pairings = derangements([clip.voice for clip in clips], settings.derangements, settings.seed)
    runs = [_perform(clips, [clips[i] for i in givers], k, settings) for k, givers in enumerate(pairings)]
    return [list(repetitions) for repetitions in zip(*runs, strict=True)]


def model(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The model with the clip's own sound."""
    runs = [_perform(clips, clips, k, settings) for k in range(settings.seeds)]
    return [list(repetitions) for repetitions in zip(*runs, strict=True)]


@dataclass(frozen=True)
class Row:
    """A row by its title. repetitions: sampled clips for each clip; fewest_clips: what it needs to make sense."""

    title: str
    perform: Callable[[Sequence[HeldOutClip], Settings], Performances]
    repetitions: Callable[[Settings], int] = lambda settings: 0
    fewest_clips: int = 1


ROWS = {
    "ground_truth": Row("ground truth", ground_truth),
    "mean_pose": Row("mean pose", mean_pose),
    "mismatched_audio": Row(
        "mismatched audio", mismatched_audio, lambda settings: settings.derangements, fewest_clips=2
    ),
    "model": Row("model", model, lambda settings: settings.seeds),
}


def _perform(
    clips: Sequence[HeldOutClip], drivers: Sequence[HeldOutClip], repetition: int, settings: Settings
) -> list[Performance]:
    """Each clip's identity and emotion, from its first frame, with the sound of its driver.

    The noise depends on (seed, repetition, clip), not on the driver: matched and mismatched rows
    differ in the sound alone.
    """
    motions: list[np.ndarray] = []
    for start in range(0, len(clips), BATCH):
        some, heard = clips[start : start + BATCH], drivers[start : start + BATCH]
        motions += settings.sampler.sample_batch(
            [driver.clip.audio for driver in heard],
            [clip.clip.identity for clip in some],
            [emotion_index(clip.clip.record.emotion) for clip in some],
            [clip.clip.motion[0] for clip in some],
            [hashed_seed(settings.seed, repetition, clip.key) for clip in some],
            steps=settings.steps,
            guidance=settings.guidance,
        )
        settings.advance(len(some))
    return [Performance(motion, driver) for motion, driver in zip(motions, drivers, strict=True)]
