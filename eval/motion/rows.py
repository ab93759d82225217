"""What is scored: the model, and what a reader needs in order to judge its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda.data.windows import hashed_seed
from moda.errors import UserError
from moda.eval.motion.baselines import NearestNeighbour, RidgeRegression, TrainingClips
from moda.eval.motion.clips import HeldOutClip
from moda.eval.pairing import derangements
from moda.flow.guidance import Scale
from moda.generation.emotion import Emotion
from moda.generation.faces import Faces
from moda.generation.sampler import MotionSampler
from moda.models.motion_vae import MotionVAE
from moda.motion.controls import ControlSpace
from moda.motion.statistics import MotionStatistics

BATCH = 16  # clips sampled together; more gains nothing on a CPU


@dataclass(frozen=True)
class Performance:
    """Motion (T', D) in the layout's units, and the clip whose sound it was made for."""

    motion: np.ndarray
    driver: HeldOutClip


@dataclass(frozen=True)
class Settings:
    """How the model is run: seeds and derangements are numbers of repetitions, None is the run's own.

    sampler, vae: of the run, None where it has none. training: loads what baselines learn from. faces: for
    rendering. notes: where a row tells what it could not do.
    """

    sampler: MotionSampler | None
    statistics: MotionStatistics
    seeds: int = 2
    derangements: int = 3
    steps: int | None = None
    guidance: Scale | None = None
    seed: int = 0
    advance: Callable[[int], object] = lambda clips: None
    vae: MotionVAE | None = None
    training: Callable[[], TrainingClips] | None = None
    faces: Faces | None = None
    notes: list[str] | None = None

    @property
    def controls(self) -> ControlSpace | None:
        """The signals that the sampler's network may be given."""
        return self.sampler.controls if self.sampler else None


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
    runs = [perform(clips, [clips[i] for i in givers], k, settings) for k, givers in enumerate(pairings)]
    return [list(repetitions) for repetitions in zip(*runs, strict=True)]


def model(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The model with the clip's own sound."""
    runs = [perform(clips, clips, k, settings) for k in range(settings.seeds)]
    return [list(repetitions) for repetitions in zip(*runs, strict=True)]


def controlled(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The model asked for the truth's head pose, gaze and distance: the network alone, not brought to them in the end."""
    runs = [perform(clips, clips, k, settings, controlled=True) for k in range(settings.seeds)]
    return [list(repetitions) for repetitions in zip(*runs, strict=True)]


def nearest_neighbour(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """Copied from where the training set sounds most alike."""
    return _regressed(NearestNeighbour(_needed(settings.training)()), clips)


def ridge(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """A linear function of the same speech features."""
    return _regressed(RidgeRegression(_needed(settings.training)()), clips)


def reconstruction(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The truth encoded and decoded by the motion VAE: the best that a model of its latents can do."""
    vae, statistics = _needed(settings.vae), settings.statistics
    return [[Performance(vae.reconstruct(clip.clip.motion, statistics), clip)] for clip in clips]


def codec_ceiling(clips: Sequence[HeldOutClip], settings: Settings) -> Performances:
    """The truth rendered on the clip's own face and measured again: what the codec itself loses. Slow."""
    faces, performances = _needed(settings.faces), []
    for clip in clips:
        try:
            frames = faces.codec.decode(faces.of(clip.key).portrait, clip.clip.motion)
            performances.append([Performance(faces.codec.encode(frames).motion, clip)])
        except UserError as error:
            performances.append([])
            _needed(settings.notes).append(f"{clip.key} is not in the row of the codec: {error}")
    return performances


def _regressed(model: Callable[[np.ndarray], np.ndarray], clips: Sequence[HeldOutClip]) -> Performances:
    return [[Performance(model(clip.clip.audio), clip)] for clip in clips]


def _needed(value: Any) -> Any:
    assert value is not None, "a row without what it needs is left out before it is performed"
    return value


@dataclass(frozen=True)
class Row:
    """A row by its title. repetitions: sampled clips for each clip; fewest_clips: what it needs to make sense.

    needs: the field of ``Settings`` without which it cannot be, and what that is called.
    """

    title: str
    perform: Callable[[Sequence[HeldOutClip], Settings], Performances]
    repetitions: Callable[[Settings], int] = lambda settings: 0
    fewest_clips: int = 1
    needs: tuple[str, str] | None = None

    def lacks(self, settings: Settings) -> str:
        """What the run has not that the row needs; empty where it can be."""
        missing = self.needs is not None and getattr(settings, self.needs[0]) is None
        return f"this run has no {self.needs[1]}" if self.needs and missing else ""

    def needs_clips(self, clips: int) -> str:
        """Why so many clips are too few; empty where they are enough."""
        return f"it needs at least {self.fewest_clips} clips" if clips < self.fewest_clips else ""


SAMPLER, TRAINING = ("sampler", "transformer"), ("training", "training clips here")
ROWS = {
    "ground_truth": Row("ground truth", ground_truth),
    "codec_ceiling": Row("codec ceiling", codec_ceiling, needs=("faces", "codec")),
    "reconstruction": Row("motion VAE", reconstruction, needs=("vae", "motion VAE")),
    "mean_pose": Row("mean pose", mean_pose),
    "nearest_neighbour": Row("nearest neighbour", nearest_neighbour, needs=TRAINING),
    "ridge": Row("ridge regression", ridge, needs=TRAINING),
    "mismatched_audio": Row(
        "mismatched audio", mismatched_audio, lambda settings: settings.derangements, fewest_clips=2, needs=SAMPLER
    ),
    "model": Row("model", model, lambda settings: settings.seeds, needs=SAMPLER),
    "controlled": Row(
        "model, controls given", controlled, lambda settings: settings.seeds, needs=("controls", "controls")
    ),
}
STANDARD = tuple(name for name in ROWS if name != "codec_ceiling")  # which takes as long as rendering and tracking do


def perform(
    clips: Sequence[HeldOutClip],
    drivers: Sequence[HeldOutClip],
    repetition: int,
    settings: Settings,
    controlled: bool = False,
    emotion: Emotion | None = None,
) -> list[Performance]:
    """Each clip's identity and emotion (or ``emotion``), from its first frame, with the sound of its driver.

    The noise depends on (seed, repetition, clip), not on the driver: matched and mismatched rows
    differ in the sound alone.
    """
    motions: list[np.ndarray] = []
    space = settings.controls if controlled else None
    for start in range(0, len(clips), BATCH):
        some, heard = clips[start : start + BATCH], drivers[start : start + BATCH]
        motions += _needed(settings.sampler).sample_batch(
            [driver.clip.audio for driver in heard],
            [clip.clip.identity for clip in some],
            [emotion or clip.emotion for clip in some],
            [clip.clip.motion[0] for clip in some],
            [hashed_seed(settings.seed, repetition, clip.key) for clip in some],
            steps=settings.steps,
            guidance=settings.guidance,
            **({"controls": [_asked(space, clip) for clip in some], "exact": False} if space else {}),
        )
        settings.advance(len(some))
    return [Performance(motion, driver) for motion, driver in zip(motions, drivers, strict=True)]


def _asked(space: ControlSpace, clip: HeldOutClip) -> dict[str, np.ndarray]:
    """The signals of the clip's own motion."""
    return {name: space.measure(name, clip.clip.motion) for name in space.channels}
