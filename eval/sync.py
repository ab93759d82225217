"""Sync-C and Sync-D: does the mouth belong to the sound, and how late is one of them?

The protocol of syncnet_python (Chung and Zisserman, 2016), also published as LSE-C and LSE-D (Prajwal et
al., 2020). Frames are crops of one face as its pipeline makes them; this is the score alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moda.audio.encoder import SAMPLES_PER_FRAME
from moda.errors import UserError
from moda.eval.mfcc import mfcc
from moda.eval.networks.syncnet import FRAMES, SIDE, STEPS, SyncNet

SHIFT = 15  # frames to either side
STEPS_PER_FRAME = 4
BATCH = 20  # windows
SILENCE = 1.0  # standard deviation of int16 samples: the last bit


@dataclass(frozen=True)
class SyncScore:
    """What the network says of one track.

    offset: frames by which the sound is early, -15 to 15; negative when it is late; 15 - argmin of the curve.
    sync_d: smallest mean distance, lower is better. sync_c: median of the curve less its minimum, higher is
    better. curve: (31,) float32, mean distance of a mouth to the sound 15 frames before it to 15 frames after.
    """

    offset: int
    sync_d: float
    sync_c: float
    curve: np.ndarray


@torch.inference_mode()
def sync_score(frames: np.ndarray, audio: np.ndarray, net: SyncNet) -> SyncScore:
    """Score one face track.

    frames: uint8 BGR (T, 224, 224, 3) at 25 frames a second. audio: int16 (N,) at 16 kHz, from the first
    frame on. net: any SyncNet, on any device; scored in evaluation mode. Raises UserError for other shapes
    and dtypes, for fewer than 6 frames or their sound, and for silence.
    """
    windows = _count_windows(frames, audio)
    training = net.training
    net.eval()
    try:
        mouths = embed_frames(frames[: windows + FRAMES - 1], net)
        sounds = embed_sound(audio, windows, net)
    finally:
        net.train(training)
    curve = distance_curve(mouths, sounds)
    least, place = curve.min(0)
    return SyncScore(SHIFT - int(place), float(least), float(curve.median() - least), curve.cpu().numpy())


def distance_curve(mouths: Tensor, sounds: Tensor, shift: int = SHIFT) -> Tensor:
    """Embeddings (N, C) of mouth and sound to (2 shift + 1,): mean distance with the sound taken k - shift later.

    Beyond the ends the sound is the zero vector, as in the original: its distance stays in the mean.
    """
    around = F.pad(sounds, (0, 0, shift, shift)).unfold(0, 2 * shift + 1, 1)  # (N, C, 2 shift + 1)
    pairs = zip(mouths.split(BATCH), around.split(BATCH), strict=True)  # memory does not grow with the clip
    return torch.cat([F.pairwise_distance(mouth[:, None], sound.mT) for mouth, sound in pairs]).mean(0)


def _count_windows(frames: np.ndarray, audio: np.ndarray) -> int:
    """Windows that both have, by the original's count, which leaves out the last; UserError for unusable input."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (SIDE, SIDE, 3):
        raise UserError(f"sync_score takes uint8 BGR frames (T, 224, 224, 3), not {frames.dtype} {frames.shape}")
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise UserError(f"sync_score takes int16 samples (N,) at 16 kHz, not {audio.dtype} {audio.shape}")
    usable = min(len(frames), len(audio) // SAMPLES_PER_FRAME)
    if usable <= FRAMES:
        lengths = f"{len(frames)} frames and {len(audio)} samples are {usable} frames with sound"
        raise UserError(f"sync_score: {lengths}, and it needs {FRAMES + 1} or more; leave this clip out")
    if audio.std() < SILENCE:
        raise UserError("sync_score: the sound is silent, so nothing can be in time with it; leave this clip out")
    return usable - FRAMES


def embed_frames(frames: np.ndarray, net: SyncNet) -> Tensor:
    """uint8 BGR (N + 4, 224, 224, 3) to the embeddings of its windows, (N, 1024)."""
    like = next(net.parameters())
    parts = []
    for begin in range(0, len(frames) - FRAMES + 1, BATCH):
        part = frames[begin : begin + BATCH + FRAMES - 1].copy()  # a view may be read-only, or reversed from RGB
        parts.append(net.embed_sequence(torch.from_numpy(part).permute(3, 0, 1, 2).to(like)))
    return torch.cat(parts)


def embed_sound(audio: np.ndarray, windows: int, net: SyncNet) -> Tensor:
    """int16 (S,) at 16 kHz to the embeddings of its first windows, (windows, 1024)."""
    steps = torch.from_numpy(mfcc(audio).T).to(next(net.parameters()))  # (13, S)
    batch = steps.unfold(1, STEPS, STEPS_PER_FRAME)[:, :windows].transpose(0, 1)[:, None]  # (windows, 1, 13, 20)
    return torch.cat([net.embed_audio(part) for part in batch.split(BATCH)])
