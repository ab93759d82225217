"""How a clip is varied for a sync network: another camera and another microphone, the same in all its frames."""

import cv2
import numpy as np

from moda.eval.mfcc import COEFFICIENTS, LIFTER

SHIFT, SCALE, TURN = 10.0, 0.12, 6.0  # pixels, share, degrees
GAIN, TINT, LIGHT = 0.25, 0.08, 20.0  # shares of all colours and of each, levels
GREY = 110  # what lies beside the picture, as in the sync crop
EQUALIZER, LOUDNESS = 0.4, 1.0  # nats of each mel band's power, and of all of it


def vary_pictures(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (T, S, S, 3), mirrored or not, moved, scaled, turned a little, in another light."""
    side = crops.shape[1]
    if rng.random() < 0.5:
        crops = crops[:, :, ::-1]
    turn, scale = rng.uniform(-TURN, TURN), 1 + rng.uniform(-SCALE, SCALE)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, scale)
    matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, 2)
    gain = (1 + rng.uniform(-GAIN, GAIN)) * (1 + rng.uniform(-TINT, TINT, 3))
    levels = np.arange(256)[:, None] * gain + rng.uniform(-LIGHT, LIGHT)  # (256, 3)
    table = np.clip(levels, 0, 255).round().astype(np.uint8)[:, None]
    moved = (
        cv2.warpAffine(np.ascontiguousarray(crop), matrix, (side, side), borderValue=(GREY,) * 3) for crop in crops
    )
    return np.stack([cv2.LUT(crop, table.transpose(1, 0, 2)) for crop in moved])


def vary_sound(steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """MFCC (..., 13) as another microphone and another distance would give them: a constant on each coefficient.

    Filtering multiplies the power of each mel band, so it adds to its logarithm, and the cosine transform of
    that to the cepstrum.
    """
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    change = EQUALIZER * lifter * rng.standard_normal(COEFFICIENTS)
    change[0] = LOUDNESS * rng.standard_normal()  # the first is the logarithm of the energy
    return (steps + change).astype(np.float32)
