"""Coarticulated mouth movement: phones and their times to ARKit curves.

Each articulator follows the targets of all phones at once, each weighted by a dominance that is
high while the phone sounds and dies away before and after it (Cohen & Massaro 1993, "Modeling
coarticulation in synthetic visual speech"). Here a phone's dominance is its interval convolved with
a two-sided exponential, so that it grows with the phone's length and has a closed form.

Blending alone never shuts a mouth. Closures are therefore kept apart: between full closures the
blend moves freely; inside one, whatever would part the lips is taken back.
"""

from collections.abc import Sequence

import numpy as np

from moda.motion.layout import ARKIT_BLENDSHAPES
from moda.synthesis.lexicon import SILENCE, VOWELS
from moda.synthesis.timing import FPS, frame_times, plateaus
from moda.synthesis.visemes import (
    ANTICIPATION,
    ARTICULATORS,
    BILABIALS,
    CARRY_OVER,
    DEFAULT_REACH,
    OPENING,
    VISEMES,
)
from moda.synthesis.voice import Phone

CLOSING, RELEASE = 0.060, 0.065  # seconds the lips take to meet before a bilabial and to part after it
RELAXATION = 0.150  # seconds after the last phone in which the mouth comes to rest
PREPARATION = 0.120  # seconds before the first phone in which it may open
STRESSED, UNSTRESSED = 1.15, 0.85  # size of vowels
JAW_IN_CLOSURE = 0.5  # share of its opening that the jaw keeps behind closed lips


def articulate(phones: Sequence[Phone], num_frames: int, *, amplitude: float = 1.0) -> np.ndarray:
    """Mouth curves of speech at rest of the face.

    phones: cover the clip in order. amplitude: size of all movements, 1 for the table's own.
    Returns (T, 52) float64 in 0..1, in the order of ARKIT_BLENDSHAPES, at ``frame_times``.
    """
    times = frame_times(num_frames)
    articulators = blend(phones, times)
    articulators = {name: amplitude * curve for name, curve in articulators.items()}
    lips, rest = bilabial_closure(phones, times), silent_closure(phones, times)
    closure = np.maximum(lips, rest)
    for name in OPENING:
        articulators[name] = articulators[name] * (1 - closure)
    # In a bilabial the jaw stays half open behind the lips; at rest it shuts.
    jaw = articulators["jaw"] * (1 - rest) * (1 - (1 - JAW_IN_CLOSURE) * lips)
    articulators["jaw"] = jaw
    curves = np.zeros((num_frames, len(ARKIT_BLENDSHAPES)))
    for name, targets in ARTICULATORS.items():
        for target in targets:
            curves[:, ARKIT_BLENDSHAPES.index(target)] = articulators[name]
    # ARKit: mouthClose equal to jawOpen brings the lips together over an open jaw.
    curves[:, ARKIT_BLENDSHAPES.index("mouthClose")] = jaw * closure
    return np.clip(curves, 0.0, 1.0)


def blend(phones: Sequence[Phone], times: np.ndarray) -> dict[str, np.ndarray]:
    """Dominance-weighted targets of each articulator at ``times`` (T,), without closures."""
    visemes, starts, ends, size = [], [], [], []
    for phone in phones:
        parts = VISEMES[phone.name]
        edges = np.linspace(phone.start, phone.end, len(parts) + 1)
        for part, start, end in zip(parts, edges[:-1], edges[1:], strict=True):
            visemes.append(part)
            starts.append(start)
            ends.append(end)
            size.append((STRESSED if phone.stressed else UNSTRESSED) if phone.name in VOWELS else 1.0)
    curves = {}
    for name in ARTICULATORS:
        weight = _dominance(
            times, np.array(starts), np.array(ends),
            ANTICIPATION.get(name, DEFAULT_REACH), CARRY_OVER.get(name, DEFAULT_REACH),
        )  # (T, P)  # fmt: skip
        weight = weight * [viseme.jaw_strength if name == "jaw" else viseme.lip_strength for viseme in visemes]
        target = np.array([viseme.targets.get(name, 0.0) for viseme in visemes]) * size
        curves[name] = weight @ target / np.maximum(weight.sum(axis=1), 1e-12)
    return curves


def lip_closure(phones: Sequence[Phone], num_frames: int) -> np.ndarray:
    """(T,) in 0..1, 1 where the lips are shut, in a bilabial or at rest."""
    times = frame_times(num_frames)
    return np.maximum(bilabial_closure(phones, times), silent_closure(phones, times))


def bilabial_closure(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """(T,) in 0..1, 1 in the middle of every p, b and m; at least one frame is fully closed."""
    spans = []
    for phone in phones:
        if phone.name in BILABIALS:
            middle, half = (phone.start + phone.end) / 2, max(phone.end - phone.start, 1.02 / FPS) / 2
            spans.append((middle - half, middle + half))
    return plateaus(spans, times, CLOSING, RELEASE)


def silent_closure(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """(T,) in 0..1, 1 where the mouth is at rest: RELAXATION into a silence until it ends."""
    spans = []
    for index, phone in enumerate(phones):
        if phone.name == SILENCE:
            start = -np.inf if index == 0 else phone.start + RELAXATION
            end = np.inf if index == len(phones) - 1 else phone.end - PREPARATION
            if end > start:
                spans.append((start, end))
    return plateaus(spans, times, RELAXATION, PREPARATION)


def _dominance(times: np.ndarray, starts: np.ndarray, ends: np.ndarray, before: float, after: float) -> np.ndarray:
    """(T, P): each interval convolved with exp(t / before) for t < 0, exp(-t / after) for t > 0."""

    def tail(distance: np.ndarray, reach: float) -> np.ndarray:
        """Integral of the kernel from ``distance`` >= 0 outwards."""
        return reach * np.exp(-np.maximum(distance, 0.0) / reach)

    t = times[:, None]
    ahead = tail(starts - t, before) - tail(ends - t, before)  # the part of the interval still to come
    past = tail(t - ends, after) - tail(t - starts, after)  # the part that has been
    return ahead + past
