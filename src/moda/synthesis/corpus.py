"""Rendering a corpus: clips in parallel processes, each written whole, finished ones skipped."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path

from moda.audio.encoder import SAMPLE_RATE
from moda.codec.head.identity import random_head
from moda.codec.head.renderer import HeadRenderer
from moda.errors import UserError
from moda.files import atomic_path, write_json
from moda.progress import progress
from moda.synthesis.clip import is_complete, speak, write_clip
from moda.synthesis.flite import FliteVoice
from moda.synthesis.piper import PiperVoice
from moda.synthesis.plan import ClipPlan, plan_held_out
from moda.synthesis.voice import VOICES, Voice

CORPUS_NAME = "corpus.json"
_SINGLE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def synthesize(out: str | Path, plans: Sequence[ClipPlan], *, workers: int = 1) -> int:
    """Render the clips of ``plans`` (see ``plan_corpus``); return how many were there already.

    Writes ``out``/SPEAKER/CLIP.mp4 (H.264 and AAC, 25 fps), CLIP.motion.npz (motion (T, 59) float32
    in layout head59, phones (P,), phone_times (P, 2) seconds) and CLIP.json (speaker, emotion,
    emotion_intensity, text, voice), and at the end ``out``/corpus.json, which lists the clips.

    Raises UserError for a missing package, a full disk, and a folder with videos of another corpus.
    """
    out = Path(out)
    _refuse_strangers(out, plans)
    todo = [plan for plan in plans if not is_complete(out, plan)]
    if todo:
        with progress("rendering", len(todo), "clips") as advance:
            for _ in _render(out, todo, workers):
                advance()
    clips = {f"{plan.speaker.name}/{plan.clip}": plan.fingerprint for plan in plans}
    write_json(out / CORPUS_NAME, {"clips": clips})
    return len(plans) - len(todo)


def _refuse_strangers(out: Path, plans: Sequence[ClipPlan]) -> None:
    """A reader takes every video of the folder, so none may be there that was not asked for."""
    expected = {(plan.speaker.name, plan.clip) for plan in plans}
    strangers = [path for path in sorted(out.glob("*/*.mp4")) if (path.parent.name, path.stem) not in expected]
    if strangers:
        raise UserError(
            f"{out} holds {len(strangers)} videos that are not of this corpus, as {strangers[0].relative_to(out)}; "
            "remove them or choose another --out"
        )


def write_held_out_speech(path: str | Path, plans: Sequence[ClipPlan], *, seconds: float = 8.0) -> str:
    """Write a WAV of sentences that no clip of ``plans`` says, by a speaker none of them shows.

    The same plans give the same file. Returns the text.
    """
    import soundfile

    plan = plan_held_out(plans, seconds)
    speech = speak(plan, _voice(plan.speaker.voice))
    with atomic_path(path) as temporary:
        soundfile.write(temporary, speech.waveform, SAMPLE_RATE, subtype="PCM_16")
    return " ".join(plan.sentences)


def _render(out: Path, plans: Sequence[ClipPlan], workers: int) -> Iterator[None]:
    """Render the clips; yield as each is done, in any order."""
    if workers == 1:
        for plan in plans:
            _render_clip(out, plan)
            yield
    else:
        yield from _render_in_processes(out, plans, min(workers, len(plans)))


def _render_in_processes(out: Path, plans: Sequence[ClipPlan], workers: int) -> Iterator[None]:
    """One clip at a time a process, so that nothing waits in a queue when the user interrupts."""
    with _environment(dict.fromkeys(_SINGLE_THREAD, "1")):  # read by the libraries when a worker loads them
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_pin_threads)
        waiting = iter(plans)
        try:
            running = {pool.submit(_render_clip, out, plan) for plan in islice(waiting, workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(_render_clip, out, plan) for plan in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a rendering process was killed, most likely for want of memory; use fewer --workers and run again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _render_clip(out: Path, plan: ClipPlan) -> None:
    renderer = _renderer(plan.size, plan.supersample)
    write_clip(out, plan, _voice(plan.speaker.voice), partial(renderer.render, random_head(plan.speaker.head)))


@cache
def _voice(name: str) -> Voice:
    assert name in VOICES
    engine, _, of_engine = name.partition("_")
    return FliteVoice(of_engine) if engine == "flite" else PiperVoice()


@cache
def _renderer(size: int, supersample: int) -> HeadRenderer:
    return HeadRenderer(size, supersample)


def _pin_threads() -> None:
    """Processes share the cores already; threads inside each would only get in their way."""
    import cv2

    cv2.setNumThreads(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
