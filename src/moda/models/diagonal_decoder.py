"""A baseline: transformer decoder with cross-attention to each token's own sound, which predicts the data.

The design that JoyVASA (Cao et al., 2024) and DiffPoseTalk (Sun et al., 2024) share, at any size: denoising diffusion
of motion, the sound heard through attention along the diagonal alone. With ``flow: ddpm`` and
``loss.target: data`` it is trained as they are; the sampler cannot tell it from an MMDiT.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from moda.errors import UserError
from moda.flow.path import TIMESTEPS
from moda.models.blocks import check_sizes
from moda.models.embeddings import (
    AudioEmbedder,
    NullToken,
    TimestepEmbedder,
    embed_emotion,
    timestep_sinusoid,
    two_layer_mlp,
)
from moda.models.mmdit import check_without

LEAST_SIGMA = 1e-3  # below it the velocity of an estimate of the data is only rounding


class DiagonalDecoder(nn.Module):
    """Self-attention over motion tokens, cross-attention to the sound of a token's own frames, ``depth`` times.

    Sizes and ``forward`` are those of ``MMDiT``. reach: frames of sound on either side of its own that a token
    hears as well. Time, emotion and identity are added to every motion token, previous motion stands beside it.
    """

    context = 0  # it takes no clean tokens before the window
    controls: Mapping[str, int] = {}  # nor signals to obey

    def __init__(
        self,
        motion_dim: int,
        audio_layers: int,
        audio_dim: int,
        identity_dim: int,
        *,
        num_emotions: int = 8,
        neutral: int = 5,
        width: int = 128,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        depth: int = 8,
        reach: int = 0,
        without: Sequence[str] = (),
    ):
        super().__init__()
        check_sizes(width, heads, mlp_ratio)
        if width % heads or width % 2:
            raise UserError(f"model.network.width {width} must be even and a multiple of heads {heads}")
        if depth < 1 or reach < 0:
            raise UserError(f"model.network needs depth >= 1 and reach >= 0, not {depth} and {reach}")
        self.motion_dim, self.identity_dim, self.num_emotions = motion_dim, identity_dim, num_emotions
        self.audio_shape = (audio_layers, audio_dim)
        self.width, self.reach, self.neutral, self.without = width, reach, neutral, check_without(without)
        self.time_embedder = TimestepEmbedder(width)
        self.motion_embedder = two_layer_mlp(2 * motion_dim, width)
        self.audio_embedder = AudioEmbedder(audio_layers, audio_dim, width)
        self.identity_embedder = two_layer_mlp(identity_dim, width)
        self.emotion_embedder = nn.Embedding(num_emotions + 1, width)  # the last row is the null
        self.null_audio, self.null_identity = NullToken(width), NullToken(width)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width,
                heads,
                round(mlp_ratio * width),
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.final_norm = nn.LayerNorm(width)
        self.final_linear = nn.Linear(width, motion_dim)
        nn.init.normal_(self.emotion_embedder.weight, std=0.02)
        nn.init.zeros_(self.final_linear.weight)
        nn.init.zeros_(self.final_linear.bias)

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
        drop_audio: torch.Tensor | None = None,
        drop_identity: torch.Tensor | None = None,
        drop_emotion: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Velocity (B, N, C), of the data that is predicted: v = (x - data) / sigma, sigma at least 0.001."""
        frames, count = audio.shape[1], noisy_motion.shape[1]
        if frames % count:
            raise UserError(f"{frames} frames of audio do not divide into {count} motion tokens")
        never = {name: torch.ones_like(timestep, dtype=torch.bool) for name in self.without}
        drop_emotion = never.get("emotion", drop_emotion)
        if "previous" in never:
            previous_motion = torch.zeros_like(previous_motion)
        if drop_emotion is not None:
            emotion = torch.where(drop_emotion, self.num_emotions, emotion)
        identity_token = self.identity_embedder(identity)[:, None]
        identity_token = self.null_identity(identity_token, never.get("identity", drop_identity))
        emotion_token = embed_emotion(self.emotion_embedder, emotion, intensity, self.neutral)[:, None]
        shared = self.time_embedder(timestep)[:, None] + emotion_token + identity_token
        sound = self.null_audio(self.audio_embedder(audio), never.get("audio", drop_audio))
        frame, token, mask = self._places(frames, count, audio.device)
        sound = sound + timestep_sinusoid(frame, self.width).to(sound.dtype)
        x = self.motion_embedder(torch.cat([previous_motion.expand(-1, count, -1), noisy_motion], -1))
        x = x + shared + timestep_sinusoid(token, self.width).to(x.dtype)
        for block in self.blocks:
            x = block(x, sound, memory_mask=mask)
        data = self.final_linear(self.final_norm(x)).float()
        sigma = (timestep.float() / TIMESTEPS).clamp(min=LEAST_SIGMA)[:, None, None]
        return (noisy_motion - data) / sigma

    def _places(self, frames: int, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Frame numbers of the sound (T,) and of the motion tokens (N,), and which sound a token does not hear (N, T)."""
        stride = frames // count
        frame = torch.arange(frames, dtype=torch.float32, device=device)
        token = frame[:count] * stride + (stride - 1) / 2
        return frame, token, (frame - token[:, None]).abs() > (stride - 1) / 2 + self.reach
