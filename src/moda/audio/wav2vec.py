"""Hidden layers of a wav2vec2, HuBERT or WavLM network at frame rate."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from moda.audio.checkpoint import load_checkpoint
from moda.audio.encoder import frames_of
from moda.audio.windows import in_windows
from moda.devices import exact_float32, resolve_device
from moda.errors import UserError

_FPS = 25
_STEP = 320  # samples between two outputs of the convolutions: two in a video frame
_PIECE = 500  # outputs of the convolutions computed at once: 10 s, which bounds memory


class Wav2VecEncoder:
    """Fills ``SpeechEncoder`` with the outputs of transformer layers: L layers of C channels.

    checkpoint: folder, or name in ``moda weights list``. layers: numbers from 1 (the first transformer
    layer) on, None for all; which mix of them serves best the generator can learn
    (``MMDiT.mix_audio_layers``).
    presample: the transformer works at 25 Hz, on every second output of the convolutions, as MoDA does it
    (there: linear interpolation from 2 T - 1 outputs to T, end on end, which is the same). Else it works
    at the 50 Hz that it was trained at, and the two outputs within a video frame are averaged.
    preemphasis: c of y[n] = x[n] - c x[n - 1], applied first; 0 leaves the sound as it is.
    window, overlap: seconds. Longer sound goes through the transformer in windows that fade into each other
    (``in_windows``). What is taken over time before that is taken over the whole sound: the level where the
    checkpoint normalises it, and the statistics of the group norm in the first convolution. So the
    transformer's input is the same whatever the window, and what differs from one pass over the whole sound
    is only how far attention reaches. The silence after the end (``num_frames``) is left out of both.
    device: cpu, cuda or auto; not a part of the fingerprint.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        layers: Sequence[int] | None = None,
        presample: bool = False,
        preemphasis: float = 0.0,
        window: float = 60.0,
        overlap: float = 10.0,
        device: str = "auto",
    ) -> None:
        loaded = load_checkpoint(checkpoint)
        self._model: Any = loaded.model.to(resolve_device(device))
        self._normalize = loaded.normalize
        config = self._model.config
        strides = config.conv_stride
        if np.prod(strides) != _STEP:
            raise UserError(
                f"speech checkpoint {checkpoint} has an output every {np.prod(strides)} samples, not {_STEP}"
            )
        self._reach = 1  # samples that one output of the convolutions sees
        for kernel, stride in zip(config.conv_kernel[::-1], strides[::-1], strict=True):
            self._reach = (self._reach - 1) * stride + kernel
        self._layers = _checked(layers, config.num_hidden_layers)
        self._presample, self._preemphasis = presample, preemphasis
        self._window, self._overlap = round(window * _FPS), round(overlap * _FPS)
        if not 0 <= self._overlap <= self._window / 2 or self._window < 1:
            raise UserError(f"speech encoder: overlap {overlap} s must lie between 0 and half the window of {window} s")
        if not 0 <= preemphasis < 1:
            raise UserError(f"speech encoder: preemphasis {preemphasis} must lie in [0, 1); 0.97 is usual, 0 is none")
        self.name = loaded.family
        self.num_layers, self.dim = len(self._layers), config.hidden_size
        settings = [self.name, loaded.digest, self._layers, presample, preemphasis, self._window, self._overlap]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, waveform: np.ndarray, num_frames: int | None = None) -> np.ndarray:
        """(N,) float32 at 16 kHz to (T, L, C) float32."""
        rows = frames_of(len(waveform)) if num_frames is None else num_frames
        if rows == 0:
            return np.zeros((0, self.num_layers, self.dim), np.float32)
        with exact_float32(self._model.device):  # a data set's features are the same, whatever computed them
            return self._encode(waveform, rows)

    def _encode(self, waveform: np.ndarray, rows: int) -> np.ndarray:
        features = self._convolved(self._prepared(waveform), 2 * rows)  # (2 T, channels)
        if self._presample:
            features = features[::2]

        def encode(start: int, end: int) -> np.ndarray:
            if self._presample:
                return self._transformed(features[start:end])
            steps = self._transformed(features[2 * start : 2 * end])
            return steps.reshape(end - start, 2, *steps.shape[1:]).mean(1)

        return in_windows(rows, self._window, self._overlap, encode)

    def _prepared(self, waveform: np.ndarray) -> torch.Tensor:
        """The sound as the network wants to hear it, (N,)."""
        sound = waveform.astype(np.float64)
        if self._preemphasis and len(sound):
            sound = sound - self._preemphasis * np.concatenate([sound[:1], sound[:-1]])
        if self._normalize and len(sound):
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        return torch.from_numpy(sound.astype(np.float32))

    def _convolved(self, sound: torch.Tensor, steps: int) -> torch.Tensor:
        """(N,) samples to the first ``steps`` outputs of the convolutions, (steps, channels), in pieces.

        Output i sees samples 320 i to 320 i + 400; after the end there is silence.
        """
        first, *others = self._model.feature_extractor.conv_layers
        padded = torch.zeros((steps - 1) * _STEP + self._reach)
        taken = sound[: len(padded)]
        padded[: len(taken)] = taken
        norm = _group_norm(first)
        scale, shift = (None, None) if norm is None else self._fixed(first.conv, norm, sound)
        out = torch.empty(steps, self._model.config.conv_dim[-1])
        for start in range(0, steps, _PIECE):
            end = min(steps, start + _PIECE)
            x = padded[start * _STEP : (end - 1) * _STEP + self._reach].to(self._model.device)[None, None]
            x = first(x) if scale is None else first.activation(first.conv(x) * scale + shift)
            for layer in others:
                x = layer(x)
            out[start:end] = x[0].T
        return out

    def _fixed(self, conv: nn.Conv1d, norm: nn.GroupNorm, sound: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A group norm over all of ``sound`` as scale and shift (channels, 1): one group a channel, so the moments of each."""
        (kernel,), (stride,) = conv.kernel_size, conv.stride
        if len(sound) < kernel:
            sound = torch.nn.functional.pad(sound, (0, kernel - len(sound)))
        count, total, squares = 0, 0.0, 0.0
        for piece in _pieces(sound, kernel, stride):
            x = conv(piece.to(self._model.device)[None, None])[0].double()
            count, total, squares = count + x.shape[1], total + x.sum(1), squares + (x**2).sum(1)
        mean = torch.as_tensor(total / count)
        variance = torch.as_tensor(squares / count) - mean**2
        scale = norm.weight.double() * (variance.clamp(min=0) + norm.eps).rsqrt()
        return scale.float()[:, None], (norm.bias.double() - mean * scale).float()[:, None]

    def _transformed(self, features: torch.Tensor) -> np.ndarray:
        """(n, channels) outputs of the convolutions to (n, L, C) of the chosen layers."""
        encoder, outputs = self._model.encoder, {}
        hooks = [
            layer.register_forward_hook(lambda _layer, _inputs, out, number=number: outputs.__setitem__(number, out))
            for number, layer in enumerate(encoder.layers, 1)
        ]
        try:
            projected = self._model.feature_projection(features[None].to(self._model.device))
            last = encoder(projected[0] if isinstance(projected, tuple) else projected).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        outputs[len(encoder.layers)] = last  # after the final norm, where there is one
        chosen = [outputs[number] for number in self._layers]
        return torch.stack([out[0] if isinstance(out, tuple) else out for out in chosen], 2)[0].cpu().numpy()


def _checked(layers: Sequence[int] | None, count: int) -> list[int]:
    numbers = list(range(1, count + 1)) if layers is None else list(layers)
    if not numbers or any(not 1 <= number <= count for number in numbers):
        raise UserError(f"speech encoder: layers {numbers} must be some of 1 to {count}, or null for all")
    return numbers


def _group_norm(layer: nn.Module) -> nn.GroupNorm | None:
    """The norm over time that the first convolution has in one of the two variants; the other's is local."""
    norm = getattr(layer, "layer_norm", None)
    return norm if isinstance(norm, nn.GroupNorm) else None


def _pieces(sound: torch.Tensor, kernel: int, stride: int) -> Iterator[torch.Tensor]:
    """(n,) sound in parts whose convolution outputs, one after the other, are those of the whole."""
    outputs = (len(sound) - kernel) // stride + 1
    at_once = _PIECE * _STEP // stride
    for start in range(0, outputs, at_once):
        end = min(outputs, start + at_once)
        yield sound[start * stride : (end - 1) * stride + kernel]
