"""Sound in, speech features at frame rate out."""

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, SpeechEncoder, frames_of

__all__ = ["SAMPLES_PER_FRAME", "SAMPLE_RATE", "SpeechEncoder", "frames_of"]
