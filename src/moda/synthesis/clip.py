"""One clip of the corpus: from its plan to sound and motion, and to files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME, frames_of
from moda.files import atomic_path, read_json, write_json
from moda.generation.video import VideoWriter
from moda.motion.layout import get_layout
from moda.synthesis.articulation import articulate, lip_closure
from moda.synthesis.emotions import EXPRESSIONS, express
from moda.synthesis.gestures import blinks, brows, gaze, head_pose
from moda.synthesis.lexicon import SILENCE
from moda.synthesis.plan import ClipPlan
from moda.synthesis.voice import Phone, Speech, Voice

LAYOUT = get_layout("head59")


@dataclass(frozen=True)
class Performance:
    """What is heard and seen in a clip of T frames.

    waveform: (640 T,) float32, 16 kHz. phones: cover it. motion: (T, 59) float32, layout head59.
    """

    waveform: np.ndarray
    phones: tuple[Phone, ...]
    motion: np.ndarray


def speak(plan: ClipPlan, voice: Voice) -> Speech:
    """The sound of a clip: the sentences between silences, in the speaker's voice and room."""
    speaker, expression = plan.speaker, EXPRESSIONS[plan.emotion]
    rng = np.random.default_rng([plan.seed, 0])
    parts = [
        voice.speak(
            sentence,
            seed=int(rng.integers(2**31)),
            length_scale=speaker.tempo / expression.factor("tempo", plan.intensity),
            pitch=speaker.pitch * expression.factor("pitch", plan.intensity),
        )
        for sentence in plan.sentences
    ]
    speech = join(parts, plan.silences)
    loud = speaker.gain * expression.factor("loudness", plan.intensity) * speech.waveform
    room = rng.normal(0, speaker.noise, len(loud))
    return Speech(np.clip(loud + room, -1, 1).astype(np.float32), speech.phones)


def join(parts: Sequence[Speech], silences: Sequence[float]) -> Speech:
    """Put ``silences`` (seconds) before, between and after the parts; the length is whole frames."""
    assert len(silences) == len(parts) + 1
    sounds: list[np.ndarray] = []
    phones: list[Phone] = []
    position = 0  # samples
    for part, silence in zip(parts, silences, strict=False):
        gap = round(silence * SAMPLE_RATE)
        sounds += [np.zeros(gap, np.float32), part.waveform]
        phones += [phone.moved((position + gap) / SAMPLE_RATE) for phone in part.phones]
        position += gap + len(part.waveform)
    length = SAMPLES_PER_FRAME * frames_of(position + round(silences[-1] * SAMPLE_RATE))
    sounds.append(np.zeros(length - position, np.float32))
    return Speech(np.concatenate(sounds), _without_gaps(phones, length / SAMPLE_RATE))


def _without_gaps(phones: Sequence[Phone], end: float) -> tuple[Phone, ...]:
    """Phones that cover 0 to ``end``, the gaps between sentences filled with one silence each."""
    spoken = [phone for phone in phones if phone.name != SILENCE]
    covered, time = [], 0.0
    for phone in spoken:
        if phone.start > time:
            covered.append(Phone(SILENCE, time, phone.start))
        covered.append(phone)
        time = phone.end
    return (*covered, Phone(SILENCE, time, end))


def perform(plan: ClipPlan, voice: Voice) -> Performance:
    """Sound and motion of a clip, the head swaying about the middle of the picture at scale 1."""
    speech = speak(plan, voice)
    num_frames = len(speech.waveform) // SAMPLES_PER_FRAME
    size = plan.speaker.articulation * EXPRESSIONS[plan.emotion].factor("jaw", plan.intensity)
    mouth = articulate(speech.phones, num_frames, amplitude=size)
    curves = express(mouth, lip_closure(speech.phones, num_frames), plan.emotion, plan.intensity)
    rng = np.random.default_rng([plan.seed, 1])
    pose = head_pose(speech.phones, num_frames, rng, plan.speaker.liveliness * plan.sway)
    curves = curves + brows(speech.phones, num_frames, rng)
    curves = curves + gaze(num_frames, rng, pose)
    curves = np.maximum(curves, blinks(num_frames, rng, plan.speaker.blinks))
    motion = np.concatenate([np.clip(curves, 0, 1), pose], axis=1)
    motion[:, LAYOUT.groups["scale"]] += 1
    return Performance(speech.waveform, speech.phones, motion.astype(np.float32))


def clip_paths(out: Path, plan: ClipPlan) -> tuple[Path, Path, Path]:
    """Where a clip's video, motion and sidecar stand."""
    stem = out / plan.speaker.name / plan.clip
    return stem.with_suffix(".mp4"), stem.with_suffix(".motion.npz"), stem.with_suffix(".json")


def is_complete(out: Path, plan: ClipPlan) -> bool:
    """Whether all files of this very plan are there; the sidecar is written last."""
    video, motion, sidecar = clip_paths(out, plan)
    if not (video.is_file() and motion.is_file() and sidecar.is_file()):
        return False
    return read_json(sidecar).get("plan") == plan.fingerprint


def write_clip(out: Path, plan: ClipPlan, voice: Voice, render: Callable[[np.ndarray], np.ndarray]) -> None:
    """Make a clip in ``out``/SPEAKER; nothing half-written stays.

    render: motion (59,) to a uint8 RGB frame (plan.size, plan.size, 3).
    """
    video, motion, sidecar = clip_paths(out, plan)
    sidecar.unlink(missing_ok=True)
    performance = perform(plan, voice)
    with VideoWriter(video, plan.size, fps=LAYOUT.fps, audio=performance.waveform) as writer:
        for row in performance.motion:
            writer.write(render(row))
    with atomic_path(motion) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            motion=performance.motion,
            phones=np.array([phone.name for phone in performance.phones]),
            phone_times=np.array([(phone.start, phone.end) for phone in performance.phones]),
        )
    write_json(sidecar, {
        "speaker": plan.speaker.name,
        "emotion": plan.emotion,
        "emotion_intensity": plan.intensity,
        "text": " ".join(plan.sentences),
        "voice": plan.speaker.voice,
        "plan": plan.fingerprint,
    })  # fmt: skip
