"""What a sampler is asked for, and what it carries from window to window."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from moda.generation.emotion import Timeline

Controls = Mapping[str, np.ndarray]  # of ``moda.motion.controls``, name -> (T, k) in the user's units


@dataclass(frozen=True)
class AskedControls:
    """What a clip is to obey, as the network takes it."""

    signals: torch.Tensor  # (T, K)
    absent: torch.Tensor  # (G,) bool, the controls that were not asked for


@dataclass(frozen=True)
class Request:
    """One clip to make: what ``MotionSampler.sample`` takes, checked and as tensors."""

    audio: torch.Tensor  # (T', L, C)
    identity: torch.Tensor  # (I,)
    emotions: Timeline
    rest: torch.Tensor  # (D,) normalised
    seed: int
    length: int  # frames T that are asked for
    frames: int  # T and those of silence after them
    size: float  # of the face, in units of the mean scale
    controls: AskedControls | None  # None: of a network that takes none
    imposed: Controls  # those that the motion is brought to exactly in the end
    noise_period: int | None = None  # windows after which the noise comes again; None: never


@dataclass
class Progress:
    """What one clip carries from window to window; its size does not grow with the clip."""

    request: Request
    windows: int
    previous: torch.Tensor  # (1 or the network's context, C) the tokens before the next window
    tail: torch.Tensor | None  # (O, C) of the last window, to be blended into the next
    context: torch.Tensor  # (n, C) tokens before those of the next window that decoding needs
    decoded: int  # of them, from the start; the others wait for what a centred decoder sees ahead
    left: int  # frames not yet yielded
