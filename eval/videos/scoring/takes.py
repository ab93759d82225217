"""Takes of videos: what was measured on a face, beside what was measured on the reference's."""

from collections.abc import Iterable

import numpy as np

from moda.eval.metrics.loudness import loudness, speech_span
from moda.eval.takes import Take
from moda.eval.videos.extractors.base import Arrays
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

LAYOUT = get_layout("head59")


def statistics_of(motions: Iterable[np.ndarray]) -> MotionStatistics | None:
    """Mean and deviation over all frames of motions (T, 59), met one after the other; None without any."""
    count, total, squares = 0, np.zeros(LAYOUT.dim), np.zeros(LAYOUT.dim)
    for motion in motions:
        values = motion.astype(np.float64)
        count, total, squares = count + len(values), total + values.sum(0), squares + (values**2).sum(0)
    if not count:
        return None
    mean = total / count
    return MotionStatistics(LAYOUT, mean, np.sqrt(np.maximum(squares / count - mean**2, 0)), count)


def take_of(
    key: str,
    faces: Arrays,
    truth: Arrays | None,
    sound: np.ndarray | None,
    statistics: MotionStatistics,
    *,
    bilabials: np.ndarray | None = None,
    emotions: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Take:
    """The frames that both have; without a truth, its arrays are NaN.

    faces, truth: what ``FaceExtractor`` found. sound: (N,) int16 at 16 kHz, None where there is none.
    bilabials: frames (n,) of ``PhoneExtractor``. emotions: (n, 7) of ``EmotionExtractor``, and the truth's.
    """
    emotion, truth_emotion = (None if found is None else found.mean(0) for found in emotions)
    frames = len(faces["motion"]) if truth is None else min(len(faces["motion"]), len(truth["motion"]))
    waveform = None if sound is None else sound.astype(np.float32) / 32768
    nothing = {name: np.full_like(values, np.nan, dtype=np.float32) for name, values in faces.items()}
    beside = nothing if truth is None else truth
    return Take(
        key=key,
        motion=faces["motion"][:frames],
        truth=beside["motion"][:frames],
        lips=faces["lips"][:frames],
        truth_lips=beside["lips"][:frames],
        loudness=None if waveform is None else loudness(waveform, frames),
        speech=slice(0, frames) if waveform is None else speech_span(waveform, frames),
        statistics=statistics,
        found_lips=faces["lip_landmarks"][:frames],
        truth_found_lips=None if truth is None else truth["lip_landmarks"][:frames],
        shape=faces["shape"],
        truth_shape=None if truth is None else truth["shape"],
        bilabials=bilabials,
        emotion=emotion,
        truth_emotion=truth_emotion,
    )
