"""How long the model takes, on one clip sampled alone."""

import time

from moda.codec.base import MotionCodec
from moda.eval.metrics.base import Score
from moda.eval.motion.clips import HeldOutClip
from moda.eval.motion.rows import Settings
from moda.generation.faces import Face
from moda.generation.pipeline import render


def measure_speed(clip: HeldOutClip, settings: Settings, codec: MotionCodec, face: Face | None) -> dict[str, Score]:
    """Sample ``clip`` and render it on ``face``; nothing is written. Without a face the second column is undefined."""
    began = time.perf_counter()
    chunks = list(
        settings.sampler.sample(
            clip.clip.audio,
            clip.clip.identity,
            clip.emotion,
            clip.clip.motion[0],
            seed=settings.seed,
            steps=settings.steps,
            guidance=settings.guidance,
        )
    )
    sampled = time.perf_counter() - began
    scores = {"real_time_factor": Score(sampled / clip.duration, n=1)}
    if face is not None:
        for _ in render(codec, face.portrait, chunks):
            pass
        scores["real_time_factor_rendered"] = Score((time.perf_counter() - began) / clip.duration, n=1)
    return scores
