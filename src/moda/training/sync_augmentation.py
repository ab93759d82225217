"""How a clip is varied for a sync network: another camera and another microphone, the same in all its frames."""

import cv2
import numpy as np
from scipy.signal import lfilter

from moda.eval.mfcc import COEFFICIENTS, LIFTER, mfcc

SHIFT, SCALE, TURN = 10.0, 0.12, 6.0  # pixels, share, degrees
GAIN, TINT, LIGHT = 0.25, 0.08, 20.0  # shares of all colours and of each, levels
BLUR, NOISE, RARELY = 2.0, 8.0, 0.3  # pixels, levels, and how often there is any
GREY = 110  # what lies beside the picture, as in the sync crop
TRACT, QUIETEST, LOUDEST = 0.15, 5.0, 40.0  # share of the vocal tract's length, decibels of speech over noise
EQUALIZER, LOUDNESS = 0.4, 1.0  # nats of each mel band's power, and of all of it


def vary_pictures(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (T, S, S, 3), mirrored or not, moved, scaled, turned a little, in another light, by a worse camera."""
    side = crops.shape[1]
    if rng.random() < 0.5:
        crops = crops[:, :, ::-1]
    turn, scale = rng.uniform(-TURN, TURN), 1 + rng.uniform(-SCALE, SCALE)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, scale)
    matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, 2)
    blur = rng.uniform(0, BLUR) if rng.random() < RARELY else 0.0
    moved = []
    for crop in crops:
        crop = cv2.warpAffine(np.ascontiguousarray(crop), matrix, (side, side), borderValue=(GREY,) * 3)
        moved.append(cv2.GaussianBlur(crop, (0, 0), blur) if blur > 0.3 else crop)
    return _recoloured(np.stack(moved), rng)


def _recoloured(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each colour mixed with grey, scaled and moved, and noise of its own on every frame."""
    colour = rng.random() ** 0.5  # 1 keeps all colour
    gain = (1 + rng.uniform(-GAIN, GAIN)) * (1 + rng.uniform(-TINT, TINT, 3))
    mix = gain[:, None] * (colour * np.eye(3) + (1 - colour) / 3)  # (3, 3)
    light = rng.uniform(-LIGHT, LIGHT)
    changed = np.stack([cv2.transform(crop, np.column_stack([mix, np.full(3, light)])) for crop in crops])
    if rng.random() >= RARELY:
        return changed
    grain = rng.uniform(0, NOISE) * rng.standard_normal(crops.shape, np.float32)
    return np.clip(changed + grain, 0, 255).astype(np.uint8)


def vary_sound(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int16 (N,) to MFCC (S, 13) as another voice, another room and another microphone would give them.

    The vocal tract is longer or shorter, there is noise, and a constant on each coefficient: filtering
    multiplies the power of each mel band, so it adds to its logarithm, and the cosine transform of that to
    the cepstrum.
    """
    level = audio.astype(np.float64).std() * 10 ** (-rng.uniform(QUIETEST, LOUDEST) / 20)
    noise = level * rng.standard_normal(len(audio))
    if rng.random() < 0.5:  # a rumble: falling by 6 dB an octave
        noise = lfilter([1.0], [1.0, -0.95], noise) * (1 - 0.95**2) ** 0.5
    steps = mfcc(audio + noise, 1 + rng.uniform(-TRACT, TRACT))
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    change = EQUALIZER * lifter * rng.standard_normal(COEFFICIENTS)
    change[0] = LOUDNESS * rng.standard_normal()  # the first is the logarithm of the energy
    return (steps + change).astype(np.float32)
