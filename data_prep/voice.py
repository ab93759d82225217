"""Where somebody speaks: cost about 0.1 ms a frame. Music, noise and silence are no speech."""

import numpy as np

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError
from moda.weights import find

STEP, CONTEXT = 512, 64  # samples of a step, and of the one before that the network sees with it
SPEAKS = 0.5  # probability


class VoiceActivity:
    """Silero VAD (Silero team, 2021; MIT) in its form for whole recordings, on one thread."""

    def __init__(self) -> None:
        path = find("silero_vad")
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("voice activity needs onnxruntime; run: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def probabilities(self, waveform: np.ndarray) -> np.ndarray:
        """(N,) float32 at 16 kHz to the probability of speech in each 32 ms of it, (ceil(N / 512),)."""
        steps = -(-len(waveform) // STEP)
        padded = np.zeros(CONTEXT + steps * STEP, np.float32)
        padded[CONTEXT : CONTEXT + len(waveform)] = waveform
        rows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + STEP)[::STEP]
        nothing = np.zeros((1, 1, 128), np.float32)
        answer = self._session.run(["speech_probs"], {"input": np.ascontiguousarray(rows), "h": nothing, "c": nothing})
        return np.asarray(answer[0], np.float32).ravel()

    def seconds(self, waveform: np.ndarray) -> float:
        """Of speech in (N,) float32 at 16 kHz."""
        return float((self.probabilities(waveform) > SPEAKS).sum() * STEP / SAMPLE_RATE)
