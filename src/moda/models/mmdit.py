"""Multi-modal diffusion transformer: predicts the velocity of noisy motion from speech, identity and emotion.

The published MoDA network is one configuration of it (conf/model/mmdit_b.yaml).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from moda.checks import names_of
from moda.errors import UserError
from moda.models.blocks import GroupLayer, Modulation, MultiStreamBlock, SingleStreamBlock, check_sizes, modulate
from moda.models.embeddings import (
    AudioEmbedder,
    ControlEmbedder,
    NullToken,
    TimestepEmbedder,
    embed_emotion,
    two_layer_mlp,
)
from moda.models.rotary import RotaryAngles
from moda.models.stages import Stage, parse_stages

CONDITIONS = ("audio", "emotion", "identity", "previous")


def check_without(names: Sequence[str]) -> tuple[str, ...]:
    names = names_of("model.network.without", names)
    if any(name not in CONDITIONS for name in names):
        raise UserError(f"model.network.without={list(names)}: must name some of {', '.join(CONDITIONS)}")
    return names


class MMDiT(nn.Module):
    """Joint attention over motion, audio, emotion and identity tokens in configured stages.

    motion_dim: channels C of a motion (or latent) token. audio_layers, audio_dim: L and Ca.
    stages: list of {depth, groups}. A stage of one group is made of parallel single-stream blocks,
    any other of MM-DiT blocks.
    rope_theta: base of the rotary angles; positions count frames.
    repeat_conditions: one emotion and one identity token per frame, as published, else one of each.
    mix_audio_layers: learn which mix of the speech encoder's layers to hear (``AudioEmbedder``).
    without: conditions that the network is never shown, whatever it is given: their learned nulls stand in for them, 0
    for the previous motion. What each is worth, at equal weights and operations.
    neutral: the emotion class that others are interpolated from by their intensity.
    context: previous motion tokens that stand before the window as clean tokens of the motion stream, at
    negative positions; 0 is the published way, one previous token beside every noisy one.
    controls: name -> channels of the per-frame signals that may be given or not (see ``ControlEmbedder``).
    late_audio: so many of the last blocks have the sound of a motion token's own frames added to it, by a
    projection that starts at zero. frames_per_token: of motion; needed by ``controls`` and ``late_audio``.
    local_init: start with half of the heads looking at the same moment in every stream (``look_nearby``).
    With random queries and keys a small corpus is memorised before that is found out. Changes what the
    first step computes, not the architecture.

    ``recompute`` (an attribute, False at first) makes the backward pass compute each block again instead of
    keeping what is inside it.
    """

    def __init__(
        self,
        motion_dim: int,
        audio_layers: int,
        audio_dim: int,
        identity_dim: int,
        *,
        stages: Sequence[Mapping[str, Any]],
        num_emotions: int = 8,
        width: int = 768,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        rope_theta: float = 256.0,
        repeat_conditions: bool = False,
        mix_audio_layers: bool = False,
        without: Sequence[str] = (),
        local_init: bool = True,
        neutral: int = 5,
        context: int = 0,
        controls: Mapping[str, int] | None = None,
        late_audio: int = 0,
        frames_per_token: int = 1,
    ):
        super().__init__()
        check_sizes(width, heads, mlp_ratio)
        if width % heads or (width // heads) % 2:
            raise UserError(f"model.network.width {width} must be an even multiple of heads {heads}")
        if context < 0 or frames_per_token < 1 or not 0 <= neutral < num_emotions:
            raise UserError("model.network needs context >= 0, frames_per_token >= 1 and neutral among its emotions")
        self.motion_dim, self.identity_dim, self.num_emotions = motion_dim, identity_dim, num_emotions
        self.audio_shape = (audio_layers, audio_dim)
        self.repeat_conditions = repeat_conditions
        self.neutral, self.context, self.frames_per_token = neutral, context, frames_per_token
        self.controls = dict(controls or {})
        self.stages = parse_stages(stages)
        self.rotary = RotaryAngles(self.stages, context, repeat_conditions, width // heads, rope_theta)
        self.without = check_without(without)
        depth, self.recompute = sum(stage.depth for stage in self.stages), False
        if not 0 <= late_audio <= depth:
            raise UserError(f"model.network.late_audio={late_audio}: the network has {depth} blocks")

        self.time_embedder = TimestepEmbedder(width)
        self.motion_embedder = two_layer_mlp(motion_dim if context else 2 * motion_dim, width)  # noisy, and previous
        if context:
            self.context_embedder = two_layer_mlp(motion_dim, width)
        if self.controls:
            self.control_embedder = ControlEmbedder(self.controls, frames_per_token, width)
        self.audio_embedder = AudioEmbedder(audio_layers, audio_dim, width, mix_audio_layers)
        self.identity_embedder = two_layer_mlp(identity_dim, width)
        self.emotion_embedder = nn.Embedding(num_emotions + 1, width)  # the last row is the null
        self.null_audio = NullToken(width)
        self.null_identity = NullToken(width)

        self.blocks = nn.ModuleList()
        for stage in self.stages:
            for index in range(stage.depth):
                last = stage is self.stages[-1] and index == stage.depth - 1
                self.blocks.append(_block(stage, width, heads, round(mlp_ratio * width), last))
        self.late_audio = nn.ModuleList(nn.Linear(frames_per_token * width, width) for _ in range(late_audio))
        self.final_modulation = Modulation(width, 2)
        self.final_linear = nn.Linear(width, motion_dim)
        self._initialise(local_init)

    def _initialise(self, local: bool) -> None:
        """Xavier weights, but zero in modulations and output (adaLN-Zero), so that the velocity starts at 0, and late audio."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Modulation | ControlEmbedder):
                module.reset()
            elif local and isinstance(module, GroupLayer):
                module.norm.look_nearby(module.qkv, module.heads)
            elif local and isinstance(module, SingleStreamBlock):
                module.norm.look_nearby(module.inward, module.heads)
        for linear in self.late_audio:
            nn.init.zeros_(linear.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.emotion_embedder.weight, std=0.02)
        nn.init.zeros_(self.final_linear.weight)

    def forward(
        self,
        noisy_motion: torch.Tensor,
        timestep: torch.Tensor,
        *,
        audio: torch.Tensor,
        identity: torch.Tensor,
        emotion: torch.Tensor,
        previous_motion: torch.Tensor,
        intensity: torch.Tensor | None = None,
        controls: torch.Tensor | None = None,
        drop_audio: torch.Tensor | None = None,
        drop_identity: torch.Tensor | None = None,
        drop_emotion: torch.Tensor | None = None,
        drop_controls: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Velocity (B, N, C) of ``noisy_motion`` (B, N, C) at ``timestep`` (B,) in 0..1000.

        audio: (B, T, L, Ca), T a multiple of N. identity: (B, I). emotion: (B,) long, ``num_emotions`` is
        the null class. previous_motion: (B, 1, C), or (B, N, C); with a context (B, context, C), oldest first.
        intensity: (B,) of the emotion, 0 is neutral and 1 (None) the class itself. controls: (B, T, K), those of
        ``controls`` side by side; None gives none of them. drop_*: (B,) bool, True replaces that condition of
        the sample by its learned null; drop_controls: (B, G), one column a control.
        """
        if self.without:
            never = {name: torch.ones_like(timestep, dtype=torch.bool) for name in self.without}
            drop_audio, drop_identity = never.get("audio", drop_audio), never.get("identity", drop_identity)
            drop_emotion = never.get("emotion", drop_emotion)
            previous_motion = torch.zeros_like(previous_motion) if "previous" in never else previous_motion
        frames, count = audio.shape[1], noisy_motion.shape[1]
        if frames % count:
            raise UserError(f"{frames} frames of audio do not divide into {count} motion tokens")
        if (self.controls or self.late_audio) and frames != count * self.frames_per_token:
            raise UserError(f"{frames} frames are not {count} motion tokens of {self.frames_per_token}")
        if drop_emotion is not None:
            emotion = torch.where(drop_emotion, self.num_emotions, emotion)
        emotion_token = embed_emotion(self.emotion_embedder, emotion, intensity, self.neutral)[:, None]  # (B, 1, width)
        identity_token = self.null_identity(self.identity_embedder(identity)[:, None], drop_identity)
        copies = frames if self.repeat_conditions else 1
        tokens = {
            "motion": self._motion(noisy_motion, previous_motion, frames, controls, drop_controls),
            "audio": self.null_audio(self.audio_embedder(audio), drop_audio),
            "emotion": emotion_token.expand(-1, copies, -1),
            "identity": identity_token.expand(-1, copies, -1),
        }
        # Residual streams are as precise as the motion, float32 under autocast: what blocks add is small.
        tokens = {stream: embedded.to(noisy_motion.dtype) for stream, embedded in tokens.items()}
        moment = self.time_embedder(timestep)
        # cast once to what linear layers compute in, and not in each of them
        condition = nn.functional.silu(moment + emotion_token[:, 0]).to(moment.dtype)
        out = self._transform(tokens, condition, self.rotary(frames, count, noisy_motion.device))
        return self.final_linear(modulate(out[:, self.context :], *self.final_modulation(condition)))

    def _motion(
        self,
        noisy: torch.Tensor,
        previous: torch.Tensor,
        frames: int,
        controls: torch.Tensor | None,
        drop_controls: torch.Tensor | None,
    ) -> torch.Tensor:
        """Tokens of the motion stream (B, context + N, width): the clean ones before the window, and the noisy ones."""
        count = noisy.shape[1]
        if not self.context:
            noisy = torch.cat([previous.expand(-1, count, -1), noisy], -1)
        tokens = self.motion_embedder(noisy)
        if self.controls:
            if controls is None:
                controls = noisy.new_zeros(len(noisy), frames, sum(self.controls.values()))
                drop_controls = torch.ones(len(noisy), len(self.controls), dtype=torch.bool, device=noisy.device)
            tokens = tokens + self.control_embedder(controls, drop_controls)
        return torch.cat([self.context_embedder(previous), tokens], 1) if self.context else tokens

    def _transform(
        self, tokens: dict[str, torch.Tensor], condition: torch.Tensor, rotations: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Run the stages, regrouping the streams between them; returns the motion tokens.

        condition: (B, width). rotations: of each stage, see ``RotaryAngles``.
        """
        number, sound = 0, tokens["audio"]
        for stage, rotation in zip(self.stages, rotations, strict=True):
            grouped = [torch.cat([tokens[stream] for stream in group], 1) for group in stage.groups]
            for _ in range(stage.depth):
                grouped[0] = self._hear(grouped[0], sound, number)
                grouped = self._run(self.blocks[number], grouped, condition, rotation)
                number += 1
            for group, joined in zip(stage.groups, grouped, strict=True):
                lengths = [tokens[stream].shape[1] for stream in group]
                tokens.update(zip(group, joined.split(lengths, 1), strict=True))
        return tokens["motion"]

    def _hear(self, group: torch.Tensor, sound: torch.Tensor, number: int) -> torch.Tensor:
        """Late audio: before a late block, each motion token gets the embedded ``sound`` (B, T, width) of its own frames.

        group: (B, n, width), which the motion stream opens, its context first.
        """
        late = number - (len(self.blocks) - len(self.late_audio))
        if late < 0:
            return group
        heard = self.late_audio[late](sound.unflatten(1, (-1, self.frames_per_token)).flatten(2))  # (B, N, width)
        return group + nn.functional.pad(heard, (0, 0, self.context, group.shape[1] - self.context - heard.shape[1]))

    def _run(self, block: nn.Module, *arguments: Any) -> list[torch.Tensor]:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)


def _block(stage: Stage, width: int, heads: int, mlp_width: int, last: bool) -> nn.Module:
    if stage.single:
        return SingleStreamBlock(width, heads, mlp_width)
    return MultiStreamBlock(width, heads, mlp_width, len(stage.groups), last)
