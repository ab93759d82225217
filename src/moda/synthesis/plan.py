"""What every clip of a corpus says and shows, decided before anything is rendered."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from moda.data.schema import emotion_index
from moda.errors import UserError
from moda.synthesis.lexicon import load_sentences, pronounce, words_of
from moda.synthesis.speaker import Speaker, draw_speaker
from moda.synthesis.voice import DEFAULT_VOICE, VOICES

HELD_OUT_SPEAKER = 1000
REVISION = 1  # raise when the same plan would give another clip
CORPUS_EMOTIONS = ("neutral", "happiness", "sadness", "anger", "surprise")
NEUTRAL_SHARE = 0.4
SECONDS_PER_PHONE = 0.076  # of the packaged voice at its own tempo
SILENCE_RANGE = (0.2, 0.8)  # seconds, before, between and after sentences
MEAN_SILENCE = sum(SILENCE_RANGE) / 2


@dataclass(frozen=True)
class ClipPlan:
    """One clip. silences: seconds before, between and after the sentences. intensity: 0 to 1. sway: size of the head's movement."""

    speaker: Speaker
    clip: str
    sentences: tuple[str, ...]
    silences: tuple[float, ...]
    emotion: str
    intensity: float
    seed: int
    size: int
    supersample: int
    sway: float = 1.0
    revision: int = REVISION

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the clip's content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def plan_corpus(
    *, identities: int, clips_per_identity: int, seconds: float, size: int = 256, supersample: int = 2, seed: int = 0,
    emotions: Sequence[str] = CORPUS_EMOTIONS, intensities: tuple[float, float] = (0.5, 1.0), sway: float = 1.0,
    voices: Sequence[str] = (DEFAULT_VOICE,), held_out: int = 0,
) -> list[ClipPlan]:  # fmt: skip
    """The clips of a corpus, a pure function of the arguments.

    seconds: about how long a clip lasts; whole sentences are said. Every sentence is used once
    before any is used again. With more clips per identity the first ones stay as they were.
    emotions, intensities: what is drawn from. sway: factor on the movement of all heads. voices: names in
    ``VOICES``. held_out: the last so many speakers say sentences of their own, a share of all like theirs of the
    speakers, that the others never say.
    """
    _check(identities, clips_per_identity, seconds, size, supersample, emotions)
    _check_manner(identities, intensities, sway, voices, held_out)
    decks = _decks(seed, held_out / identities)
    speakers = [draw_speaker(seed, number, voices) for number in range(identities)]
    plans = []
    for number in range(clips_per_identity):
        for index, speaker in enumerate(speakers):
            rng = np.random.default_rng([seed, index, number])
            emotion = _draw_emotion(rng, emotions)
            sentences = _fill(decks[index >= identities - held_out], seconds - 2 * MEAN_SILENCE, speaker.tempo)
            plans.append(
                ClipPlan(
                    speaker=speaker,
                    clip=f"clip_{number:03d}",
                    sentences=tuple(sentences),
                    silences=tuple(np.round(rng.uniform(*SILENCE_RANGE, len(sentences) + 1), 3).tolist()),
                    emotion=emotion,
                    intensity=0.0 if emotion == "neutral" else round(rng.uniform(*intensities), 2),
                    seed=int(rng.integers(2**31)),
                    size=size,
                    supersample=supersample,
                    sway=sway,
                )
            )
    return plans


def plan_held_out(plans: Sequence[ClipPlan], seconds: float) -> ClipPlan:
    """A neutral clip by a speaker outside ``plans``, of sentences outside them.

    Raises UserError when ``plans`` use every sentence there is.
    """
    said = {sentence for plan in plans for sentence in plan.sentences}
    left = [sentence for sentence in load_sentences() if sentence not in said]
    seed = plans[0].seed
    rng = np.random.default_rng(seed)
    speaker = draw_speaker(seed, HELD_OUT_SPEAKER)
    deck = (left[index] for index in rng.permutation(len(left)))
    try:
        sentences = _fill(deck, seconds - 2 * MEAN_SILENCE, speaker.tempo)
    except StopIteration:
        raise UserError(
            f"the corpus leaves no {seconds:g} s of sentences unsaid; use fewer clips or shorter speech"
        ) from None
    silences = tuple(np.round(rng.uniform(*SILENCE_RANGE, len(sentences) + 1), 3).tolist())
    return ClipPlan(
        speaker, "held_out", tuple(sentences), silences, "neutral", 0.0, seed, plans[0].size, plans[0].supersample
    )


def spoken_seconds(sentence: str, tempo: float = 1.0) -> float:
    """About how long the voice takes for a sentence."""
    return SECONDS_PER_PHONE * tempo * sum(len(pronounce(word)) for word in words_of(sentence))


def _decks(seed: int, share: float) -> tuple[Iterator[str], Iterator[str]]:
    """Sentences for most speakers and, ``share`` of all, for those held out."""
    sentences = load_sentences()
    if not share:
        return _deal(sentences, seed), iter(())
    order = np.random.default_rng([seed, HELD_OUT_SPEAKER]).permutation(len(sentences))
    apart = set(order[: max(1, round(share * len(sentences)))].tolist())
    kept, held = ([text for index, text in enumerate(sentences) if (index in apart) is side] for side in (False, True))
    return _deal(kept, seed), _deal(held, seed)


def _deal(sentences: Sequence[str], seed: int) -> Iterator[str]:
    """The sentences in a seeded order, again and again in new orders."""
    rng = np.random.default_rng(seed)
    while True:
        yield from (sentences[int(index)] for index in rng.permutation(len(sentences)))


def _fill(deck: Iterator[str], seconds: float, tempo: float) -> list[str]:
    """Sentences that together come nearest to ``seconds`` with the pauses between them; at least one."""
    chosen = [next(deck)]
    total = spoken_seconds(chosen[0], tempo)
    # one more is worth it while at least half of an average sentence is missing
    while seconds - total > MEAN_SILENCE + 0.5 * 25 * SECONDS_PER_PHONE * tempo:
        chosen.append(next(deck))
        total += MEAN_SILENCE + spoken_seconds(chosen[-1], tempo)
    return chosen


def _draw_emotion(rng: np.random.Generator, emotions: Sequence[str]) -> str:
    others = [emotion for emotion in emotions if emotion != "neutral"]
    neutral = rng.random() < NEUTRAL_SHARE
    other = int(rng.integers(max(len(others), 1)))
    return "neutral" if not others or (neutral and "neutral" in emotions) else others[other]


def _check(identities: int, clips: int, seconds: float, size: int, supersample: int, emotions: Sequence[str]) -> None:
    for name, value, low, high in (
        ("speakers", identities, 1, 1000), ("clips", clips, 1, 1000), ("seconds", seconds, 1, 60),
        ("size", size, 64, 1024), ("supersample", supersample, 1, 4),
    ):  # fmt: skip
        if not low <= value <= high:
            raise UserError(f"{name} is {value}; give a value from {low} to {high}")
    if size % 2:
        raise UserError(f"size is {size}; video needs an even number of pixels")
    if not emotions:
        raise UserError("no emotion is given; name at least one, as neutral")
    for emotion in emotions:
        emotion_index(emotion)


def _check_manner(
    identities: int, intensities: tuple[float, float], sway: float, voices: Sequence[str], held_out: int
) -> None:
    low, high = intensities
    if not 0 <= low <= high <= 1:
        raise UserError(f"intensity from {low:g} to {high:g}; give two values from 0 to 1, the lower first")
    if not 0 <= sway <= 5:
        raise UserError(f"sway is {sway:g}; give a factor from 0 (still) to 5")
    unknown = [voice for voice in voices if voice not in VOICES]
    if unknown or not voices:
        raise UserError(f"unknown voice {(unknown or [''])[0]!r}; known: {', '.join(VOICES)}")
    if not 0 <= held_out < identities:
        raise UserError(f"held-out is {held_out}; some of the {identities} speakers must be left")
