"""What results.json holds of an evaluation of motion: rows by columns, and everything that led to them."""

import platform
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from moda import __version__
from moda.eval.metrics.base import Column
from moda.eval.metrics.speed import COLUMNS as SPEED_COLUMNS
from moda.eval.motion.emotions import COLUMNS as EMOTION_COLUMNS
from moda.eval.motion.long_form import COLUMNS as LONG_COLUMNS
from moda.eval.motion.protocol import Evaluation, Protocol
from moda.eval.motion.rows import ROWS
from moda.eval.motion.sync_expert import COLUMNS as SYNC_COLUMNS

# Changes whenever a number could come out differently for the same motion.
PROTOCOL_VERSION = 1


def results_of(evaluation: Evaluation) -> dict[str, Any]:
    """Plain values, as they are written."""
    protocol, export, manifest = evaluation.protocol, evaluation.export, evaluation.manifest
    return {
        "protocol": {
            "version": PROTOCOL_VERSION,
            **{name: getattr(protocol, name) for name in ("split", "span", "seeds", "derangements", "seed", "emotion_clips", "minutes")},
            "steps": protocol.steps or export.flow.steps,
            "guidance": export.flow.guidance if protocol.guidance is None else protocol.guidance,
            **{name: getattr(protocol, name) for name in ("solver", "shift", "guidance_interval")},
            "sync_expert": None if protocol.sync_expert is None else str(protocol.sync_expert),
            "interval": "percentile bootstrap over clips, 95 %, 2000 resamples",
        },
        "provenance": {
            "run": str(protocol.run),
            "step": export.step,
            "space": export.space,
            "data": str(evaluation.root),
            "dataset_fingerprint": manifest.fingerprint,
            "trained_on": export.dataset_fingerprint,
            "codec_fingerprint": manifest.codec_fingerprint,
            "audio_fingerprint": manifest.audio_fingerprint,
            "versions": {
                "moda": __version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            },
            "device": str(evaluation.settings.sampler.device) if evaluation.settings.sampler else "cpu",
            "threads": torch.get_num_threads(),
        },
        "metrics": {name: asdict(column) for name, column in _columns(protocol).items()},
        "rows": {
            row: {"title": ROWS[row].title, "scores": {name: asdict(score) for name, score in scores.items()}}
            for row, scores in evaluation.scores.items()
        },
        "clips": [
            {"key": c.key, "speaker": c.clip.record.speaker, "source": c.clip.record.source, "seconds": c.duration}
            for c in evaluation.clips
        ],
        "left_out": [asdict(item) for item in evaluation.left_out],
        "notes": evaluation.notes,
    }  # fmt: skip


def _columns(protocol: Protocol) -> dict[str, Column]:
    """In the order in which they stand."""
    motion = {name: metric.column for name, metric in protocol.metrics.items()}
    sync = SYNC_COLUMNS if protocol.sync_expert else {}
    return motion | sync | EMOTION_COLUMNS | LONG_COLUMNS | SPEED_COLUMNS
