"""Rotary position embedding: where tokens stand in time, as angles that turn their queries and keys."""

from collections.abc import Sequence

import torch

from moda.models.stages import STATIC_STREAMS, Stage

MOST_SHAPES = 16  # whose angles are kept


def rope_rotation(positions: torch.Tensor, head_dim: int, theta: float) -> torch.Tensor:
    """Rotary angles as unit complex numbers, kept as (cos, sin) pairs in float32.

    positions: (n,) in frames, fractions allowed. Position 0 rotates nothing, which is how tokens
    without a place in time are treated. Returns (n, head_dim / 2, 2).
    Su et al., "RoFormer", equation 34, with neighbouring channels forming a pair.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.float()[:, None] * theta**-exponents
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn the channel pairs of ``x`` (..., n, heads, head_dim) by ``rotation`` (n, head_dim / 2, 2), in float32.

    One complex product; inside a compiled graph, where inductor has no complex numbers, the same in real ones.
    """
    pairs, rotation = x.float().unflatten(-1, (-1, 2)), rotation[:, None]
    if torch.compiler.is_compiling():
        (even, odd), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
    return turned.flatten(-2)


class RotaryAngles:
    """Angles of all tokens of each stage, group after group, computed once for each shape and device.

    context: motion tokens before the window, at negative positions. repeat_conditions: one emotion and one identity
    token per frame, else one of each. head_dim, theta: see ``rope_rotation``.
    """

    def __init__(self, stages: Sequence[Stage], context: int, repeat_conditions: bool, head_dim: int, theta: float):
        self.stages, self.context, self.repeat_conditions = stages, context, repeat_conditions
        self.head_dim, self.theta = head_dim, theta
        self._known: dict[tuple[int, int, torch.device], list[torch.Tensor]] = {}

    def __call__(self, frames: int, count: int, device: torch.device) -> list[torch.Tensor]:
        """(n, head_dim / 2, 2) for each stage, of ``frames`` T of sound and ``count`` N motion tokens."""
        key = (frames, count, device)
        if key not in self._known:
            if len(self._known) == MOST_SHAPES:
                self._known.pop(next(iter(self._known)))
            with torch.inference_mode(False):  # training may want for its backward pass what validation has computed
                self._known[key] = self._angles(frames, count, device)
        return self._known[key]

    def _angles(self, frames: int, count: int, device: torch.device) -> list[torch.Tensor]:
        places = self._positions(frames, count, device)
        stages = []
        for stage in self.stages:
            groups = [self._group(group, places) for group in stage.groups]
            stages.append(rope_rotation(torch.cat(groups), self.head_dim, self.theta))
        return stages

    @staticmethod
    def _group(streams: Sequence[str], places: dict[str, torch.Tensor]) -> torch.Tensor:
        """Positions of a group; on their own, static streams have no place in time (position 0)."""
        joined = torch.cat([places[stream] for stream in streams])
        return torch.zeros_like(joined) if all(stream in STATIC_STREAMS for stream in streams) else joined

    def _positions(self, frames: int, count: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Where each token stands in time, in frames; a motion token stands at the centre of its frames."""
        stride = frames // count
        frame = torch.arange(frames, dtype=torch.float32, device=device)
        static = frame if self.repeat_conditions else frame[:1]
        motion = torch.arange(-self.context, count, dtype=torch.float32, device=device) * stride + (stride - 1) / 2
        return {"motion": motion, "audio": frame, "emotion": static, "identity": static}
