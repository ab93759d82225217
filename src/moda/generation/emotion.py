"""What a face is to feel and when: emotions with an intensity, over a timeline.

The network knows one emotion a window. Where a window holds several, each is given to the network and every
token follows the velocity of its own time's emotion: a blend of vector fields, as MultiDiffusion blends them over
regions of a picture (Bar-Tal et al., 2023). So a change falls on its own frame and not on a window's edge,
each emotion is seen as in training, and a network trained without timelines follows them too.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda.data.schema import EMOTIONS, check_intensity, emotion_index
from moda.errors import UserError

FADE_SECONDS = 0.4  # from one emotion to the next, about the time between them
ADJECTIVES = {
    "angry": "anger", "contemptuous": "contempt", "disgusted": "disgust", "fearful": "fear", "afraid": "fear",
    "happy": "happiness", "sad": "sadness", "surprised": "surprise",
}  # fmt: skip
FORM = "NAME[:INTENSITY][@START-END], separated by commas, as happy:0.8@0-3,sad@3-6"

_SPAN = re.compile(r"(?P<name>[^:@]+)(?::(?P<intensity>[^@]*))?(?:@(?P<start>[^-]*)-(?P<end>.*))?")


@dataclass(frozen=True)
class Emotion:
    """index: class, the number of classes is none. intensity: 0 is neutral, 1 the class in full."""

    index: int
    intensity: float = 1.0


NONE = Emotion(len(EMOTIONS))


@dataclass(frozen=True)
class Span:
    """An emotion from ``start`` to ``end``, seconds."""

    emotion: Emotion
    start: float = 0.0
    end: float = math.inf


Timeline = tuple[Span, ...]  # in order, apart; between them the emotion is left open


def emotion_of(name: str | None, intensity: float | None = None) -> Emotion:
    """An emotion by its name (None leaves it open); intensity None is 1. Raises UserError."""
    return Emotion(emotion_index(name), check_intensity(intensity))


def timeline_of(emotion: int | Emotion | Timeline) -> Timeline:
    """Whatever says what to feel, as a timeline."""
    if isinstance(emotion, tuple):
        return emotion
    return (Span(emotion if isinstance(emotion, Emotion) else Emotion(emotion)),)


def parse_emotions(text: str) -> Timeline:
    """Read ``happy``, ``happiness:0.5`` or ``happy:0.8@0-3,sad@3-6``: name, intensity 0 to 1, seconds.

    START may be left out for 0, END for the end of the speech. Raises UserError that names the part at fault.
    """
    parts = [part.strip() for part in text.split(",")]
    spans = [_span(part, alone=len(parts) == 1) for part in parts]
    spans.sort(key=lambda span: span.start)
    for before, after in itertools.pairwise(spans):
        if after.start < before.end:
            raise UserError(f"emotion {text!r}: two spans overlap from {after.start:g} s; one must end before the next")
    return tuple(spans)


def _span(part: str, alone: bool) -> Span:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise UserError(f"emotion {part!r} cannot be read; give {FORM}")
    name = match["name"].strip()
    emotion = emotion_of(ADJECTIVES.get(name, name))
    if match["intensity"] is not None:
        if EMOTIONS[emotion.index] == "neutral":
            raise UserError(f"emotion {part!r}: neutral has no intensity; leave it out")
        emotion = Emotion(emotion.index, _number(part, "intensity", match["intensity"], at_most=1.0))
    if match["end"] is None:
        if not alone:
            raise UserError(f"emotion {part!r} does not say when; give {FORM}")
        return Span(emotion)
    start = _number(part, "start", match["start"]) if match["start"].strip() else 0.0
    end = _number(part, "end", match["end"]) if match["end"].strip() else math.inf
    if end <= start:
        raise UserError(f"emotion {part!r} ends at {end:g} s, before it has begun")
    return Span(emotion, start, end)


def _number(part: str, what: str, text: str, at_most: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= at_most or math.isinf(value):
        limit = f"from 0 to {at_most:g}" if at_most < math.inf else "of seconds from 0"
        raise UserError(f"emotion {part!r}: {what} {text.strip()!r} is no number {limit}")
    return value


def check_within(timeline: Timeline, seconds: float, fps: int = 25) -> None:
    """Refuse a span that no frame of ``seconds`` s of speech would show: a frame has the emotion of its middle."""
    for span in timeline:
        name = [*EMOTIONS, "none"][span.emotion.index]
        first = math.ceil(span.start * fps - 0.5)
        if span.start >= seconds or first >= math.ceil(seconds * fps):
            raise UserError(f"emotion {name} begins at {span.start:g} s, but the speech lasts {seconds:.2f} s")
        if (first + 0.5) / fps >= span.end:
            raise UserError(
                f"emotion {name} from {span.start:g} to {span.end:g} s falls between two frames; give it {1 / fps:g} s or more"
            )


def mixture(timeline: Timeline, first: int, tokens: int, stride: int, fps: int) -> tuple[list[Emotion], np.ndarray]:
    """The emotions of a window and how much each token follows each.

    first: frame that the window begins with; a token stands for ``stride`` frames. Returns E emotions and (E, tokens)
    float32 whose columns add up to 1.
    """
    half = round(FADE_SECONDS * fps / 2)
    frames = np.arange(first - half, first + tokens * stride + half).clip(min=0)
    times = (frames + 0.5) / fps
    which = np.zeros(len(times), int)  # 0 is none
    for number, span in enumerate(timeline, 1):
        which[(span.start <= times) & (times < span.end)] = number
    emotions = [NONE, *(span.emotion for span in timeline)]
    kinds = list(dict.fromkeys(emotions))
    hard = np.array([[emotions[number] == kind for number in which] for kind in kinds], np.float64)  # (E, frames)
    sums = np.cumsum(np.pad(hard, ((0, 0), (1, 0))), axis=1)
    width = 2 * half + 1
    soft = (sums[:, width:] - sums[:, :-width]) / width  # the mean over the fade about each frame
    weights = soft.reshape(len(kinds), tokens, stride).mean(2)
    present = weights.max(axis=1) > 0
    return [kind for kind, used in zip(kinds, present, strict=True) if used], weights[present].astype(np.float32)


def blend_rows(mixtures: Sequence[tuple[list[Emotion], np.ndarray]]) -> tuple[list[int], list[Emotion], np.ndarray]:
    """All emotions of a batch of windows one below the other: whose they are, which, and their weights (R, tokens)."""
    owners = [clip for clip, (emotions, _) in enumerate(mixtures) for _ in emotions]
    emotions = [emotion for some, _ in mixtures for emotion in some]
    return owners, emotions, np.concatenate([weights for _, weights in mixtures])
