"""The network as the velocity field of one window: what it is shown of each clip, on each branch of guidance."""

from collections.abc import Sequence
from functools import cache

import torch

from moda.flow.guidance import BranchVelocity
from moda.flow.path import timestep_of
from moda.generation.emotion import Emotion, blend_rows, mixture
from moda.generation.request import Progress
from moda.models.mmdit import MMDiT

Branches = tuple[tuple[str, ...], ...]  # the conditions that each branch goes without


class WindowConditions:
    """What the network is shown in window k of its clips, and the velocity that it then answers with.

    alive: (C,) 1 where a channel moves, 0 where it is held. A window has ``tokens`` tokens of ``stride`` frames each;
    window k begins ``hop`` k frames after the clip does. fps: of frames.
    """

    def __init__(self, network: MMDiT, *, alive: torch.Tensor, tokens: int, stride: int, hop: int, fps: int):
        self.network, self.alive = network, alive
        self.tokens, self.stride, self.hop, self.fps = tokens, stride, hop, fps

    def velocity(self, clips: Sequence[Progress], window: int) -> BranchVelocity:
        """The network as a velocity field over (B, W, C).

        Where a clip has several emotions in the window, its velocity is the blend of the velocities under each.
        """
        first = self.hop * window
        mixtures = [mixture(clip.request.emotions, first, self.tokens, self.stride, self.fps) for clip in clips]
        owners, emotions, weights = blend_rows(mixtures)
        field = self._field([clips[owner] for owner in owners], emotions, first)
        if len(owners) == len(clips):
            return field
        owner, share = torch.tensor(owners), torch.from_numpy(weights)[..., None]  # (R,), (R, W, 1)

        def blended(x: torch.Tensor, sigma: torch.Tensor, branches: Branches) -> tuple[torch.Tensor, ...]:
            whose, weight = owner.to(x.device), share.to(x.device)
            parts = field(x[whose], sigma, branches)
            return tuple(torch.zeros_like(x).index_add_(0, whose, weight * part) for part in parts)

        return blended

    def _field(self, rows: Sequence[Progress], emotions: Sequence[Emotion], first: int) -> BranchVelocity:
        """One emotion a row; all branches of guidance are one batch."""
        device = next(self.network.parameters()).device
        alive = self.alive.to(device)
        conditions = self._conditions(rows, first) | {
            "emotion": torch.tensor([emotion.index for emotion in emotions]),
            "intensity": torch.tensor([emotion.intensity for emotion in emotions]),
        }
        conditions = {key: value.to(device) for key, value in conditions.items()}

        @cache  # a solver asks for the same branches again and again
        def shown(branches: Branches) -> dict[str, torch.Tensor]:
            batch = {key: torch.cat([value] * len(branches)) for key, value in conditions.items()}
            for name in sorted({name for branch in branches for name in branch}):
                drop = torch.tensor([name in branch for branch in branches], device=device)
                batch[f"drop_{name}"] = drop.repeat_interleave(len(rows))
            return batch

        def velocity(x: torch.Tensor, sigma: torch.Tensor, branches: Branches) -> tuple[torch.Tensor, ...]:
            many = torch.cat([x] * len(branches))
            timestep = torch.full((len(many),), float(timestep_of(sigma)), device=device)
            answer = self.network(many, timestep, **shown(branches)) * alive
            return answer.chunk(len(branches))

        return velocity

    def _conditions(self, rows: Sequence[Progress], first: int) -> dict[str, torch.Tensor]:
        batch = {
            "audio": torch.stack([self._frames(clip.request.audio, first) for clip in rows]),
            "identity": torch.stack([clip.request.identity for clip in rows]),
            "previous_motion": torch.stack([clip.previous for clip in rows]),
        }
        asked = [clip.request.controls for clip in rows if clip.request.controls]
        if asked:  # by all or none: the network takes them, or does not
            batch["controls"] = torch.stack([self._frames(controls.signals, first) for controls in asked])
            batch["drop_controls"] = torch.stack([controls.absent for controls in asked])
        return batch

    def _frames(self, values: torch.Tensor, first: int) -> torch.Tensor:
        """Rows of a window, one a frame; the last row stands for those after the end."""
        rows = torch.arange(first, first + self.tokens * self.stride)
        return values[rows.clamp(max=len(values) - 1)]
