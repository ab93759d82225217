"""Minutes of speech without a cut: does the motion stay what it was, and do the seams of its windows show?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moda.data.windows import hashed_seed
from moda.eval.metrics.base import Column, Score
from moda.eval.motion.clips import HeldOutClip
from moda.eval.motion.rows import Settings
from moda.generation.sampler import MotionSampler
from moda.motion.layout import MotionLayout

SECONDS = 30.0  # of speech, to the next window, that is said again and again: first and last are the same words
TAKES = 32  # samples, of as many speakers as there are, from another of their clips each
MARGIN = 2  # frames about a seam that belong to it
RESAMPLES = 1000

GROUP = "long form"
COLUMNS = {
    "drift_spread": Column(
        "drift of the spread",
        f"the most that the standard deviation, or the mean speed, of any group of dimensions in the last {SECONDS:g} s "
        f"differs from the first {SECONDS:g} s of the same words, relative to the first",
        GROUP,
        better="0",
        digits=3,
    ),
    "drift_later": Column(
        "drift of the spread after the start",
        f"the same from the second {SECONDS:g} s to the last: the first holds the way from the pose that the clip starts "
        "from to the model's own",
        GROUP,
        better="0",
        digits=3,
    ),
    "drift_level": Column(
        "drift of the level",
        f"how far the mean of any group of dimensions moves from the first {SECONDS:g} s to the last, in standard "
        "deviations of that motion, root mean square over its dimensions",
        GROUP,
        unit="deviations",
        better="0",
        digits=3,
    ),
    "seam_jerk": Column(
        "jerk at seams",
        "mean absolute jerk where windows are blended, by that of all other frames",
        GROUP,
        unit="× elsewhere",
        better="1",
        digits=3,
    ),
}


def measure_long_form(clips: Sequence[HeldOutClip], settings: Settings, minutes: float) -> dict[str, Score]:
    """Sample ``minutes`` of each speaker's looped speech and measure the columns, with intervals over takes.

    The noise comes again with the words, so that first and last differ by what went before them alone: with noise of their
    own, sixteen takes differ by more than the tenth that is asked about.
    """
    sampler, statistics = settings.sampler, settings.statistics
    assert sampler is not None
    fps = statistics.layout.fps
    hop, overlap = (count * sampler.stride for count in (sampler.window - sampler.overlap, sampler.overlap))
    windows = max(1, round(min(SECONDS, minutes * 30) * fps / hop))  # of the speech that comes again
    part = windows * hop
    total = max(2, round(minutes * 60 * fps / part)) * part
    motions = _sampled(clips, settings, sampler, part, total, windows)
    alive = np.flatnonzero(statistics.alive)
    scaled = np.stack([statistics.normalize(motion)[:, alive] for motion in motions])  # (N, T, D)
    first, second, last = (Half.of(scaled[:, begin : begin + part]) for begin in (0, part, total - part))
    groups = [np.isin(alive, dims) for dims in groups_of(statistics.layout).values() if np.isin(alive, dims).any()]
    seam, elsewhere = jerk_at_seams(scaled, hop, overlap)

    def score(measure: Callable[[np.ndarray], float]) -> Score:
        return _score(measure, len(motions), settings.seed)

    scores = {
        "drift_spread": score(lambda draw: drift_of_spread(first[draw], last[draw], groups)),
        "drift_level": score(lambda draw: drift_of_level(first[draw], last[draw], groups)),
        "seam_jerk": score(lambda draw: float(seam[draw].mean() / elsewhere[draw].mean())),
    }
    if total > 2 * part:  # of two parts the second is the last
        scores["drift_later"] = score(lambda draw: drift_of_spread(second[draw], last[draw], groups))
    return scores


def _sampled(
    clips: Sequence[HeldOutClip], settings: Settings, sampler: MotionSampler, part: int, total: int, windows: int
) -> list[np.ndarray]:
    """``TAKES`` motions (total, D) of ``part`` frames of speech, which comes again with its noise: ``windows`` later."""
    by_speaker: dict[str, list[HeldOutClip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.clip.record.speaker, []).append(clip)
    takes = [(take, own) for take in range(-(-TAKES // len(by_speaker))) for own in by_speaker.values()][:TAKES]
    starts = [own[take % len(own)] for take, own in takes]
    motions = sampler.sample_batch(
        [_speech(own, take, part)[np.arange(total) % part] for take, own in takes],
        [clip.clip.identity for clip in starts],
        [clip.emotion for clip in starts],
        [clip.clip.motion[0] for clip in starts],
        [hashed_seed(settings.seed, take, f"long {clip.key}") for (take, _), clip in zip(takes, starts, strict=True)],
        steps=settings.steps,
        guidance=settings.guidance,
        noise_period=windows,
    )  # fmt: skip
    settings.advance(len(motions))
    return motions


def groups_of(layout: MotionLayout) -> dict[str, Sequence[int]]:
    """Dimensions of the layout's groups, and of the lips."""
    groups = {name: range(layout.dim)[span] for name, span in layout.groups.items()}
    return {**groups, "lips": layout.subsets["lips"]}


def _speech(own: Sequence[HeldOutClip], first: int, frames: int) -> np.ndarray:
    """Speech features (frames, L, C) of a speaker's clips, one after the other from number ``first`` on, over and over."""
    turned = [own[(first + number) % len(own)] for number in range(len(own))]
    said = np.concatenate([clip.clip.audio[clip.speech] for clip in turned])
    return said[np.arange(frames) % len(said)]


def _score(measure: Callable[[np.ndarray], float], takes: int, seed: int) -> Score:
    """``measure`` of all takes, and its percentile bootstrap interval over them."""
    value = measure(np.arange(takes))
    if takes < 2:
        return Score(value, None, takes, caution="a single take")
    draws = np.random.default_rng(seed).integers(0, takes, (RESAMPLES, takes))
    low, high = np.percentile([measure(draw) for draw in draws], [2.5, 97.5])
    return Score(value, (float(low), float(high)), takes)


@dataclass(frozen=True)
class Half:
    """Mean, variance and mean speed over time of N takes in D dimensions, each (N, D)."""

    mean: np.ndarray
    variance: np.ndarray
    speed: np.ndarray

    @classmethod
    def of(cls, motion: np.ndarray) -> "Half":
        """Of (N, T, D)."""
        return cls(motion.mean(1), motion.var(1), np.abs(np.diff(motion, axis=1)).mean(1))

    def __getitem__(self, draw: np.ndarray) -> "Half":
        return Half(self.mean[draw], self.variance[draw], self.speed[draw])


def drift_of_spread(first: Half, last: Half, groups: Sequence[np.ndarray]) -> float:
    """The largest relative change, over ``groups`` (masks of dimensions), of standard deviation or mean speed."""
    changes = []
    for dims in groups:
        deviation, speed = (
            [np.sqrt(half.variance[:, dims].mean()) for half in (first, last)],
            [half.speed[:, dims].mean() for half in (first, last)],
        )
        changes += [abs(after / before - 1) for before, after in (deviation, speed) if before]
    return float(max(changes, default=0.0))


def drift_of_level(first: Half, last: Half, groups: Sequence[np.ndarray]) -> float:
    """How far a group's mean moves in all takes together, in standard deviations of the first; the largest of groups."""
    moved, deviation = (last.mean - first.mean).mean(0), np.sqrt(first.variance.mean(0))  # (D,)
    relative = np.divide(moved, deviation, out=np.zeros_like(moved), where=deviation > 1e-6)
    return float(max(np.sqrt(np.square(relative[dims]).mean()) for dims in groups))


def jerk_at_seams(motions: np.ndarray, hop: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute jerk of (N, T, D) where windows that begin ``hop`` frames apart overlap, and elsewhere: (N,) each."""
    jerk = np.abs(np.diff(motions, n=3, axis=1)).mean(axis=2)  # (N, T - 3), the k-th is of frames k .. k + 3
    middle = np.arange(jerk.shape[1]) + 1.5
    place = (middle + MARGIN) % hop
    seam = (middle >= hop - MARGIN) & (place < overlap + 2 * MARGIN)
    return jerk[:, seam].mean(1), jerk[:, ~seam].mean(1)
