"""How a clip is varied for a sync network: another camera and another microphone, the same for all of it.

Only the hand that holds the camera moves, and its sensor and its codec leave traces that change with the frame.
"""

import cv2
import numpy as np
from scipy.signal import lfilter

from moda.eval.mfcc import COEFFICIENTS, LIFTER, mfcc

SHIFT, SCALE, TURN = 10.0, 0.12, 6.0  # pixels, share, degrees
GAIN, TINT, LIGHT = 0.25, 0.2, 20.0  # shares of all colours and of each, levels
LAMPS, UNEVENNESS = 3, 0.25  # places to a side that are lit differently; nats of each colour there
BLUR, NOISE, RARELY = 2.0, 8.0, 0.3  # pixels, levels, and how often there is any
SMALL, QUALITY = 3.0, (25, 80)  # times that a face was smaller before it was enlarged; of JPEG
GAMMA, DRIFT = 0.35, 0.8  # nats, pixels from one frame to the next
COVERED = 0.35  # share of the crop's height, from above, that may be hidden: brows and eyes say nothing of the sound
GREY = 110  # what lies beside the picture, as in the sync crop
TRACT, QUIETEST, LOUDEST = 0.15, 5.0, 40.0  # share of the vocal tract's length, decibels of speech over noise
EQUALIZER, LOUDNESS = 0.4, 1.0  # nats of each mel band's power, and of all of it


def vary_pictures(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (T, S, S, 3), mirrored or not, moved, scaled, turned a little, in another light, by a worse camera."""
    if rng.random() < 0.5:
        crops = crops[:, :, ::-1]
    return _recorded(_recoloured(_moved(crops, rng), rng), rng)


def _moved(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seen from elsewhere, by an unsteady hand, now and then with the upper part of the face hidden."""
    side = crops.shape[1]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-TURN, TURN), 1 + rng.uniform(-SCALE, SCALE))
    matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, 2)
    steps = rng.uniform(0, DRIFT) * rng.standard_normal((len(crops), 2))
    path = np.cumsum(steps, 0) - np.cumsum(steps, 0).mean(0)
    moved = np.empty_like(crops)
    for frame, crop, place in zip(moved, crops, path, strict=True):
        here = matrix + np.column_stack([np.zeros((2, 2)), place])
        frame[:] = cv2.warpAffine(np.ascontiguousarray(crop), here, (side, side), borderValue=(GREY,) * 3)
    if rng.random() < RARELY:
        moved[:, : int(rng.uniform(0, COVERED) * side)] = rng.integers(0, 256, 3)
    return moved


def _recorded(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, of fewer pixels, through a lossy codec: each of them rarely."""
    side = crops.shape[1]
    blur, small, quality = rng.uniform(0.3, BLUR), rng.uniform(1, SMALL), int(rng.integers(*QUALITY))
    blurred, enlarged, coded = rng.random(3) < RARELY
    recorded = crops.copy()
    for frame in recorded:
        if blurred:
            frame[:] = cv2.GaussianBlur(frame, (0, 0), blur)
        if enlarged:
            few = cv2.resize(frame, (int(side / small), int(side / small)), interpolation=cv2.INTER_AREA)
            frame[:] = cv2.resize(few, (side, side), interpolation=cv2.INTER_CUBIC)
        if coded:
            data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            frame[:] = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return recorded


def _recoloured(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each colour mixed with grey, scaled and moved, under uneven coloured light; other contrast; noise on every frame."""
    colour = rng.random() ** 0.5  # 1 keeps all colour
    gain = (1 + rng.uniform(-GAIN, GAIN)) * (1 + rng.uniform(-TINT, TINT, 3))
    mix = gain[:, None] * (colour * np.eye(3) + (1 - colour) / 3)  # (3, 3)
    light = rng.uniform(-LIGHT, LIGHT)
    contrast = (255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-GAMMA, GAMMA))).round().astype(np.uint8)
    linear = np.column_stack([mix, np.full(3, light)])
    lamps = np.exp(rng.uniform(0, UNEVENNESS) * rng.standard_normal((LAMPS, LAMPS, 3), np.float32))
    lit = cv2.resize(lamps, crops.shape[1:3], interpolation=cv2.INTER_CUBIC)  # (S, S, 3)
    linear, lit = linear.astype(np.float32), np.maximum(lit, 0)
    shown = (np.clip(cv2.transform(crop, linear) * lit, 0, 255).astype(np.uint8) for crop in crops.astype(np.float32))
    changed = np.stack([cv2.LUT(crop, contrast) for crop in shown])
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
