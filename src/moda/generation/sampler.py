"""Motion for speech of any length: windows conditioned on the motion before them, blended where they overlap.

Window k covers W tokens from k (W - O). It is sampled from noise that depends on the clip's seed and
on k only, conditioned on the tokens before it; its first O tokens, which start from the noise that the last
O of the window before started from, are blended linearly with those. A token is a frame, or a latent of
the motion VAE.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from moda.errors import UserError
from moda.flow.guidance import Guidance, Scale, guide
from moda.flow.rectified import RectifiedFlow
from moda.generation.conditioning import WindowConditions
from moda.generation.emotion import Emotion, Timeline, timeline_of
from moda.generation.noise import window_noise
from moda.generation.published import PublishedWays
from moda.generation.request import AskedControls, Controls, Progress, Request
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.motion.controls import ControlSpace
from moda.motion.finish import smooth_pose
from moda.motion.reference import resize, scale_ratio
from moda.motion.statistics import MotionStatistics


class MotionSampler:
    """Sample motion with a trained network.

    network, vae: in the space the network was trained in; ``vae`` None means motion itself.
    window, overlap, previous: in frames. ``previous`` is the length P of the motion before the window
    that training showed: a multiple of the VAE's stride, or without a VAE the network's context, at
    least 1 (the network sees the last of its tokens). Dead dimensions of the statistics are held at 0
    throughout, as in training.
    reference_scale: the network was trained on motion at the mean scale (``moda.motion.reference``).
    published: ways of the published pipeline. Runs where the network's parameters are. Raises UserError for
    settings that do not fit together.
    """

    def __init__(
        self,
        network: MMDiT,
        *,
        statistics: MotionStatistics,
        vae: MotionVAE | None = None,
        window: int,
        overlap: int,
        previous: int = 1,
        flow: RectifiedFlow | None = None,
        reference_scale: bool = False,
        published: PublishedWays | None = None,
    ):
        self.network, self.statistics, self.vae = network, statistics, vae
        self.flow, self.reference_scale = flow or RectifiedFlow(), reference_scale
        self.published = published or PublishedWays()
        self.published.require_motion(statistics.layout)
        if vae and self.published.smooth_windows:
            raise UserError("published.smooth_windows is for model.space=motion; set it to false")
        self.stride = vae.stride if vae else 1
        if window < 1 or window % self.stride or overlap % self.stride:
            raise UserError(
                f"window {window} and overlap {overlap} must be multiples of the VAE's stride {self.stride}"
            )
        if not 0 <= 2 * overlap <= window:
            raise UserError(f"overlap {overlap} must lie between 0 and half the window {window}")
        self.shown = max(1, network.context)  # tokens that condition a window
        if previous < self.shown * self.stride or (previous % self.stride if vae else previous > self.shown):
            least = f"at least {self.shown * self.stride} and a multiple of the VAE's stride {self.stride}"
            needed = least if vae else f"{self.shown}: without a VAE so many frames condition"
            raise UserError(f"previous motion of {previous} frames must be {needed}")
        self.window, self.overlap = window // self.stride, overlap // self.stride  # in tokens
        self.channels = vae.latent_dim if vae else statistics.layout.dim
        self.alive = torch.ones(self.channels) if vae else torch.from_numpy(statistics.alive).float()
        if network.motion_dim != self.channels:
            raise UserError(
                f"the network makes {network.motion_dim} channels, but its motion has {self.channels}; "
                "transformer, motion VAE and statistics must come from the same training"
            )
        self.controls = ControlSpace(list(network.controls), statistics) if network.controls else None
        self.conditions = WindowConditions(
            network,
            alive=self.alive,
            tokens=self.window,
            stride=self.stride,
            hop=window - overlap,
            fps=statistics.layout.fps,
        )

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def sample(
        self,
        audio: np.ndarray | torch.Tensor,
        identity: np.ndarray | torch.Tensor,
        emotion: int | Emotion | Timeline,
        rest: np.ndarray | torch.Tensor,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: Scale | None = None,
        length: int | None = None,
        controls: Controls | None = None,
        exact: bool = True,
    ) -> Iterator[np.ndarray]:
        """Motion (n, D) float32 in the layout's units, yielded as soon as it is final, T frames in all.

        audio: (T, L, C) speech features. identity: (I,). emotion: class index, the number of classes
        is the null; or an emotion with its intensity, or a timeline of them. rest: (D,) motion that the clip
        starts from. length: T where ``audio`` is longer; features beyond T (silence, say) fill the last window,
        which otherwise repeats the last row.
        steps, guidance: by default those of the flow settings; guidance may be a scale for each condition, see
        ``moda.flow.guidance``. controls: signals to obey, T rows each; what is not there is left to the network.
        It makes the rest fit them; what it leaves of a difference is taken away in the end, unless ``exact`` is
        False. Arguments are checked before the first frame is asked for.
        """
        request = self._request(audio, identity, emotion, rest, seed, length, controls, exact=exact)
        return (motion for _, motion in self._finished([request], *self.flow.plan(steps, guidance)))

    def sample_batch(
        self,
        audio: Sequence[np.ndarray | torch.Tensor],
        identities: Sequence[np.ndarray | torch.Tensor],
        emotions: Sequence[int | Emotion | Timeline],
        rests: Sequence[np.ndarray | torch.Tensor],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        guidance: Scale | None = None,
        lengths: Sequence[int] | None = None,
        controls: Sequence[Controls | None] | None = None,
        exact: bool = True,
        noise_period: int | None = None,
    ) -> list[np.ndarray]:
        """Whole clips (T_i, D), window by window together; each equals ``sample`` with its seed to rounding.

        noise_period: so many windows later the same noise comes again, for comparing what a clip does at two times.
        """
        nothing = [None] * len(audio)
        columns = (audio, identities, emotions, rests, seeds, lengths or nothing, controls or nothing)
        requests = [
            replace(self._request(*arguments, exact=exact), noise_period=noise_period)
            for arguments in zip(*columns, strict=True)
        ]
        pieces: list[list[np.ndarray]] = [[] for _ in requests]
        for index, motion in self._finished(requests, *self.flow.plan(steps, guidance)):
            pieces[index].append(motion)
        return [np.concatenate(parts) for parts in pieces]

    def _request(self, audio, identity, emotion, rest, seed, length, controls, *, exact: bool) -> Request:
        audio, identity, rest = (torch.as_tensor(x, dtype=torch.float32, device="cpu") for x in (audio, identity, rest))
        if audio.dim() != 3 or audio.shape[1:] != self.network.audio_shape or len(audio) == 0:
            raise UserError(
                f"speech features have shape {tuple(audio.shape)}, but the network takes (T,"
                f" {', '.join(map(str, self.network.audio_shape))}); use the speech encoder it was trained with"
            )
        if identity.shape != (self.network.identity_dim,):
            raise UserError(
                f"identity has shape {tuple(identity.shape)}, the network takes {self.network.identity_dim}"
            )
        emotions = timeline_of(emotion)
        for index in (span.emotion.index for span in emotions):
            if not 0 <= index <= self.network.num_emotions:
                raise UserError(f"emotion {index} is not in 0..{self.network.num_emotions} (the last is no emotion)")
        frames = len(audio) if length is None else length
        if not 1 <= frames <= len(audio):
            raise UserError(f"length {frames} must lie in 1..{len(audio)}, the number of feature rows")
        if seed < 0:
            raise UserError(f"seed {seed} is negative; seeds start at 0")
        motion = self.statistics.layout.check(rest.numpy(), "rest motion")
        size = scale_ratio(motion, self.statistics) if self.reference_scale else 1.0
        motion = self.statistics.normalize(resize(motion, 1 / size, self.statistics.layout) if size != 1 else motion)
        rest = torch.from_numpy(motion * self.statistics.alive)
        sampled = frames + self.published.tail(self.statistics.layout.fps)
        asked = self._asked(controls or {}, frames, size)
        imposed = (controls or {}) if exact else {}
        return Request(audio, identity, emotions, rest, seed, frames, sampled, size, asked, imposed)

    def _asked(self, controls: Controls, frames: int, size: float) -> AskedControls | None:
        if self.controls is None:
            if controls:
                raise UserError(f"the model was trained without controls, it cannot obey {', '.join(controls)}")
            return None
        if "distance" in controls:  # the network works at the mean scale
            controls = {**controls, "distance": np.asarray(controls["distance"]) * size}
        signals, given = self.controls.encode(controls, frames)
        return AskedControls(torch.from_numpy(signals), torch.from_numpy(~given))

    def _finished(
        self, requests: Sequence[Request], sigmas: torch.Tensor, guidance: Guidance
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (clip, frames as they become final), or whole clips where the published ways change those."""
        parts = self._run(requests, sigmas, guidance)
        if not self.published.whole_clip:
            done = [0] * len(requests)
            for index, motion in parts:
                yield index, self._obey(requests[index], motion, first=done[index])
                done[index] += len(motion)
            return
        kept: list[list[np.ndarray]] = [[] for _ in requests]
        for index, motion in parts:
            kept[index].append(motion)
        for index, request in enumerate(requests):
            motion = self.published.finish(np.concatenate(kept[index]), request.length, self.statistics)
            yield index, self._obey(request, motion, first=0)

    def _obey(self, request: Request, motion: np.ndarray, first: int) -> np.ndarray:
        """Frames ``first`` and on, (n, D), with the values that are asked for exactly."""
        if self.controls is None or not request.imposed:
            return motion
        rows = np.arange(first, first + len(motion)).clip(max=request.length - 1)
        return self.controls.impose(motion, {name: values[rows] for name, values in request.imposed.items()})

    @torch.inference_mode()
    def _run(
        self, requests: Sequence[Request], sigmas: torch.Tensor, guidance: Guidance
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Sample window k of all clips that have one, then yield (clip, final frames); k = 0, 1, ..."""
        if all(span.emotion.index == self.network.num_emotions for request in requests for span in request.emotions):
            guidance = guidance.without("emotion")
        clips = [self._start(request) for request in requests]
        for window in range(max((clip.windows for clip in clips), default=0)):
            active = [index for index, clip in enumerate(clips) if clip.windows > window]
            samples = self._sample_window([clips[index] for index in active], window, sigmas, guidance)
            for index, tokens in zip(active, samples, strict=True):
                clip = clips[index]
                yield index, self._decode(clip, self._advance(clip, tokens, window), window == clip.windows - 1)

    def _start(self, request: Request) -> Progress:
        """Before the first frame the portrait rests."""
        rest = request.rest.to(self.device).expand(1, self.stride, -1)  # (1, stride, D)
        token = self.vae.normalize(self.vae.encode(rest)[0])[0] if self.vae else rest[0]  # (1, C)
        tokens = -(-request.frames // self.stride)
        windows = 1 + max(0, -(-(tokens - self.window) // (self.window - self.overlap)))
        return Progress(request, windows, token.expand(self.shown, -1), None, token, len(token), request.frames)

    def _sample_window(
        self, clips: Sequence[Progress], window: int, sigmas: torch.Tensor, guidance: Guidance
    ) -> torch.Tensor:
        """(B, W, C) tokens of window number ``window``."""
        shape, shared = (self.window, self.channels), 0 if self.published.fresh_noise else self.overlap
        asked = [clip.request for clip in clips]
        noise = torch.stack([window_noise(one.seed, window, shape, shared, one.noise_period) for one in asked])
        velocity = guide(self.conditions.velocity(clips, window), guidance)
        tokens = self.flow.solver(velocity, (noise * self.alive).to(self.device), sigmas)
        if self.published.smooth_windows:
            layout = self.statistics.layout
            smooth = np.stack([smooth_pose(motion, layout) for motion in tokens.cpu().numpy()])
            tokens = torch.from_numpy(smooth).to(tokens)
        return tokens

    def _advance(self, clip: Progress, tokens: torch.Tensor, window: int) -> torch.Tensor:
        """Blend ``tokens`` (W, C) with the window before; keep what the next needs; return the final tokens."""
        if clip.tail is not None:
            weight = torch.arange(1, self.overlap + 1, device=tokens.device)[:, None] / (self.overlap + 1)
            blended = torch.lerp(clip.tail, tokens[: self.overlap], weight)
            tokens = torch.cat([blended, tokens[self.overlap :]])
        if window == clip.windows - 1:
            return tokens
        step = self.window - self.overlap
        clip.previous = torch.cat([clip.previous, tokens[:step]])[-self.shown :]
        clip.tail = tokens[step:]
        return tokens[:step]

    def _decode(self, clip: Progress, tokens: torch.Tensor, last: bool) -> np.ndarray:
        """Final tokens to frames (n, D), the same as decoding the whole clip at once would give."""
        motion = tokens
        if self.vae:
            joined = torch.cat([clip.context, tokens])
            # the others wait for the next window
            ready = len(joined) if last else max(clip.decoded, len(joined) - self.vae.decoder_lookahead)
            decoded = self.vae.decode(self.vae.denormalize(joined)[None])[0]
            motion = decoded[clip.decoded * self.stride : ready * self.stride]
            first = max(0, ready - self.vae.decoder_context)
            clip.context, clip.decoded = joined[first:], ready - first
        motion = motion[: clip.left]
        clip.left -= len(motion)
        frames = self.statistics.denormalize(motion).cpu().numpy()
        return frames if clip.request.size == 1 else resize(frames, clip.request.size, self.statistics.layout)
