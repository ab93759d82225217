"""What a face does beside speaking: head movement, blinks, gaze and brows.

Most of it is seeded chance; nods and brow raises fall on stressed vowels, so that some of it can
be heard.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from moda.motion.layout import ARKIT_BLENDSHAPES, POSE_NAMES
from moda.synthesis.timing import FPS, frame_times, plateaus
from moda.synthesis.voice import Phone

# standard deviation of the slow movement, in the units of the layout (translation in half widths, degrees)
SWAY = {"scale": 0.010, "translationX": 0.018, "translationY": 0.012, "pitch": 2.6, "yaw": 4.8, "roll": 1.9}
SWAY_SECONDS = (0.30, 1.10)  # widths of the two kernels that smooth it: quick and slow movement
NOD_DEGREES, NOD_SECONDS, NOD_PROBABILITY = 2.0, 0.11, 0.7
BROW_RAISE, BROW_SECONDS, BROW_PROBABILITY = 0.28, 0.16, 0.25
GAZE_SPREAD = (0.16, 0.07)  # horizontal and vertical, share of the full eyeLook curves
EYE_RANGE_DEGREES = 35.0  # turn of the eye at a full eyeLookIn or eyeLookOut
LID_CLOSING, LID_CLOSED, LID_OPENING = 0.075, 0.040, 0.140  # seconds
OPEN_AT_FIRST = 0.3  # seconds: the first frames are what a reader takes for the face at rest
REFRACTORY = 1.2  # seconds between blinks at least

_BROW_RAISE = [ARKIT_BLENDSHAPES.index(name) for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]
_BLINK = [ARKIT_BLENDSHAPES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


def head_pose(phones: Sequence[Phone], num_frames: int, rng: np.random.Generator, liveliness: float) -> np.ndarray:
    """(T, 7) movement about the rest pose, in the order of POSE_NAMES: smooth noise, and nods on stress."""
    pose = np.zeros((num_frames, len(POSE_NAMES)))
    for name, deviation in SWAY.items():
        quick, slow = (_smooth_noise(rng, num_frames, seconds) for seconds in SWAY_SECONDS)
        pose[:, POSE_NAMES.index(name)] = liveliness * deviation * (0.45 * quick + 0.89 * slow)
    nods = NOD_DEGREES * _accents(phones, num_frames, rng, NOD_SECONDS, NOD_PROBABILITY)
    pose[:, POSE_NAMES.index("pitch")] += liveliness * nods  # positive pitch looks down
    return pose


def brows(phones: Sequence[Phone], num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 52) brow raises on some stressed vowels."""
    curves = np.zeros((num_frames, len(ARKIT_BLENDSHAPES)))
    raised = BROW_RAISE * _accents(phones, num_frames, rng, BROW_SECONDS, BROW_PROBABILITY)
    curves[:, _BROW_RAISE] = raised[:, None]
    return curves


def blinks(num_frames: int, rng: np.random.Generator, per_minute: float) -> np.ndarray:
    """(T, 52) blinks as a Poisson process with a refractory time; lids close faster than they open."""
    spans, end = [], num_frames / FPS
    time = OPEN_AT_FIRST + rng.exponential(60 / per_minute)
    while time < end:
        spans.append((time, time + LID_CLOSED))
        time += REFRACTORY + rng.exponential(60 / per_minute - REFRACTORY)
    curves = np.zeros((num_frames, len(ARKIT_BLENDSHAPES)))
    curves[:, _BLINK] = plateaus(spans, frame_times(num_frames), LID_CLOSING, LID_OPENING)[:, None]
    return curves


def gaze(num_frames: int, rng: np.random.Generator, pose: np.ndarray) -> np.ndarray:
    """(T, 52) fixations of 0.3 to 2 s joined by saccades; the eyes counter the turns of ``pose`` (T, 7)."""
    yaw = pose[:, POSE_NAMES.index("yaw")]
    target = np.zeros((num_frames, 2))
    start = 0
    while start < num_frames:
        target[start:] = rng.normal(0, GAZE_SPREAD)
        start += round(FPS * min(0.3 + rng.exponential(0.7), 2.0))
    # towards the subject's left; positive yaw turns the face to the subject's right
    across = target[:, 0] + yaw / EYE_RANGE_DEGREES
    up = target[:, 1]
    return _directions({
        "eyeLookOutLeft": across, "eyeLookInRight": across, "eyeLookInLeft": -across, "eyeLookOutRight": -across,
        "eyeLookUpLeft": up, "eyeLookUpRight": up, "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
    }, num_frames)  # fmt: skip


def _directions(values: dict[str, np.ndarray], num_frames: int) -> np.ndarray:
    curves = np.zeros((num_frames, len(ARKIT_BLENDSHAPES)))
    for name, value in values.items():
        curves[:, ARKIT_BLENDSHAPES.index(name)] = np.clip(value, 0, 0.8)
    return curves


def _accents(
    phones: Sequence[Phone], num_frames: int, rng: np.random.Generator, seconds: float, probability: float
) -> np.ndarray:
    """(T,) bumps of random height about 1 on a random choice of the stressed vowels."""
    times = frame_times(num_frames)
    value = np.zeros(num_frames)
    for phone in phones:
        if phone.stressed:
            chosen, height = rng.random() < probability, rng.uniform(0.4, 1.6)
            if chosen:
                value += height * np.exp(-0.5 * ((times - (phone.start + phone.end) / 2) / seconds) ** 2)
    return value


def _smooth_noise(rng: np.random.Generator, num_frames: int, seconds: float) -> np.ndarray:
    """(T,) stationary noise of unit variance with a Gaussian spectrum; ``seconds`` is the kernel's width."""
    sigma = seconds * FPS
    margin = int(np.ceil(4 * sigma))
    white = rng.standard_normal(num_frames + 2 * margin)
    gain = (2 * np.sqrt(np.pi) * sigma) ** 0.5  # 1 / the norm of the kernel
    return gain * gaussian_filter1d(white, sigma)[margin : margin + num_frames]
