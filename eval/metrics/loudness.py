"""How loud the sound is at each video frame, and whether the mouth opens with it."""

import numpy as np

from moda.audio.encoder import SAMPLES_PER_FRAME
from moda.eval.metrics.base import ClipMetric
from moda.eval.metrics.correlation import lips_move, pearson
from moda.eval.takes import Take

AUDIBLE = -40.0  # dB below the clip's loudest frame; quieter is breath and room


def frame_energy(waveform: np.ndarray, num_frames: int) -> np.ndarray:
    """Root mean square of each video frame's 640 samples: (N,) at 16 kHz to (num_frames,); silence after the end."""
    padded = np.zeros(num_frames * SAMPLES_PER_FRAME, np.float64)
    kept = min(len(waveform), len(padded))
    padded[:kept] = waveform[:kept]
    return np.sqrt((padded.reshape(num_frames, SAMPLES_PER_FRAME) ** 2).mean(1))


def loudness(waveform: np.ndarray, num_frames: int) -> np.ndarray:
    """Perceived loudness of each video frame, relative: the 0.6th power of the sound pressure (Stevens, 1957)."""
    return frame_energy(waveform, num_frames) ** 0.6


def speech_span(waveform: np.ndarray, num_frames: int) -> slice:
    """Frames from the first to the last that is within 40 dB of the loudest; all of them in silence."""
    energy = frame_energy(waveform, num_frames)
    audible = np.flatnonzero(energy > energy.max() * 10 ** (AUDIBLE / 20))
    return slice(int(audible[0]), int(audible[-1]) + 1) if len(audible) else slice(0, num_frames)


class AudioVisualCorrelation(ClipMetric):
    """Correlation of the lip aperture with the clip's own loudness, at no lag."""

    title = "audio-visual r"
    group = "lips and sound"
    better = "truth"
    meaning = "Pearson correlation of the opening of the lips with the loudness of the sound, within the speech"

    def of_take(self, take: Take) -> float:
        lips = take.lips[take.speech]
        if take.loudness is None or not lips_move(lips):
            return float("nan")
        return pearson(lips, take.loudness[take.speech])
