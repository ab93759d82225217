"""The held-out clips that a run is scored on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moda.audio.encoder import SAMPLE_RATE
from moda.data.media import read_sounds
from moda.data.schema import DatasetManifest
from moda.data.shards import Clip, CorruptSampleError, FeatureShards
from moda.errors import UserError
from moda.eval.metrics.loudness import loudness, speech_span
from moda.eval.pairing import Voice
from moda.generation.emotion import Emotion, emotion_of

SHORTEST = 1.0  # seconds; a correlation over less says nothing


@dataclass(frozen=True)
class HeldOutClip:
    """A clip and its sound, (N,) float32 at 16 kHz; None when the data set was prepared without video shards."""

    clip: Clip
    waveform: np.ndarray | None

    @property
    def key(self) -> str:
        return self.clip.key

    @property
    def num_frames(self) -> int:
        return self.clip.num_frames

    @property
    def emotion(self) -> Emotion:
        """What the clip's labels say."""
        return emotion_of(self.clip.record.emotion, self.clip.record.emotion_intensity)

    @property
    def voice(self) -> Voice:
        return Voice(self.clip.record.speaker, self.clip.record.source, self.num_frames)

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / self.clip.record.fps

    def first(self, seconds: float) -> "HeldOutClip":
        """Its beginning; all of it where it is no longer than that."""
        frames = round(min(seconds * self.clip.record.fps, self.num_frames))
        clip = replace(self.clip, motion=self.clip.motion[:frames], audio=self.clip.audio[:frames])
        samples = round(frames / self.clip.record.fps * SAMPLE_RATE)
        return HeldOutClip(clip, None if self.waveform is None else self.waveform[:samples])

    @property
    def loudness(self) -> np.ndarray | None:
        """(T,) relative loudness of each frame."""
        return None if self.waveform is None else loudness(self.waveform, self.num_frames)

    @property
    def speech(self) -> slice:
        """Frames from the first to the last sound; all of them when the sound is not there to look at."""
        return slice(0, self.num_frames) if self.waveform is None else speech_span(self.waveform, self.num_frames)


@dataclass(frozen=True)
class LeftOut:
    """A clip (or a number of them) that is not scored, and why."""

    what: str
    reason: str


def load_clips(
    root: Path, manifest: DatasetManifest, split: str, *, most: int | None = None, seed: int = 0
) -> tuple[list[HeldOutClip], list[LeftOut]]:
    """Read the clips of a split, at most ``most``, drawn by ``seed`` and kept in the data set's order.

    Returns them and what was left out: not drawn, too short, or not readable. Raises UserError for
    an absent split, a damaged shard, and when nothing is left.
    """
    shards = FeatureShards(root, split, manifest)
    drawn, behind = _draw(shards.sizes, most, seed)
    left_out = [LeftOut(f"{behind} clips", f"not drawn; clips={most} limits how many are scored")] if behind else []

    def note(error: CorruptSampleError) -> None:
        left_out.append(LeftOut("unreadable sample", str(error)))

    clips: list[Clip] = []
    for index, positions in enumerate(drawn):
        for _, clip in shards.read(index, positions, on_corrupt=note) if positions else ():
            if clip.num_frames < SHORTEST * clip.record.fps:
                left_out.append(LeftOut(clip.key, f"{clip.num_frames} frames, shorter than {SHORTEST:g} s"))
            else:
                clips.append(clip)
    if not clips:
        reasons = "; ".join(f"{item.what}: {item.reason}" for item in left_out)
        raise UserError(f"{root} has no clip in split {split!r} that can be scored ({reasons})")
    sounds = read_sounds(root, manifest, split, {clip.key for clip in clips})
    return [HeldOutClip(clip, sounds.get(clip.key)) for clip in clips], left_out


def _draw(sizes: tuple[int, ...], most: int | None, seed: int) -> tuple[list[list[int]], int]:
    """Positions to read in each shard, and how many clips stay behind."""
    places = [(shard, position) for shard, size in enumerate(sizes) for position in range(size)]
    if most is not None and most < len(places):
        chosen = np.random.default_rng(seed).choice(len(places), most, replace=False)
        kept = [places[i] for i in sorted(chosen)]
    else:
        kept = places
    positions: list[list[int]] = [[] for _ in sizes]
    for shard, position in kept:
        positions[shard].append(position)
    return positions, len(places) - len(kept)
