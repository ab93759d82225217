"""results.json: rows by columns, and everything that could change a number."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moda.eval.intervals import Interval
from moda.eval.videos.evaluate import VideoEvaluation
from moda.eval.videos.measure import Measured
from moda.eval.videos.report.checks import checks_of
from moda.eval.videos.report.cropping import notes_on_crops
from moda.eval.videos.report.provenance import provenance_of, spec_of
from moda.eval.videos.rows import Row

SCHEMA = 1


def results_of(evaluation: VideoEvaluation) -> dict[str, Any]:
    """What results.json holds; the shape of ``moda.eval.motion.results.results_of``, so that tables read both."""
    request, scores = evaluation.request, evaluation.scores
    return {
        "schema": SCHEMA,
        "protocol": {**request.protocol.to_dict(), "fingerprint": request.protocol.fingerprint},
        "networks": evaluation.identities,
        "provenance": provenance_of(evaluation),
        "metrics": {
            name: asdict(column) | ({"spec": spec_of(metric)} if (metric := request.metrics.get(name)) else {})
            for name, column in scores.columns.items()
        },
        "rows": {
            row.name: {
                "title": row.title,
                "kind": row.kind,
                "scores": {name: asdict(found) for name, found in scores.rows[row.name].items()},
                **_counts(row, evaluation.found[row.name]),
            }
            for row in evaluation.rows
        },
        "differences": [
            {"first": first, "second": second, "columns": {name: _interval(found) for name, found in columns.items()}}
            for (first, second), columns in scores.differences.items()
        ],
        "checks": [asdict(check) for check in checks_of(evaluation)],
        "clips": _clips(evaluation),
        "left_out": [
            {"row": row.title, "what": key, "reason": reason}
            for row in evaluation.rows
            for key, reason in _left_out(row, evaluation.found[row.name])
        ],
        "notes": [*evaluation.notes, *notes_on_crops(evaluation.rows, evaluation.found)],
    }  # fmt: skip


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "value": interval.value,
        "interval": [interval.low, interval.high],
        "n": interval.n,
        "caution": interval.caution,
    }


def _counts(row: Row, clips: list[Measured]) -> dict[str, int]:
    """clips, frames: looked at; left_out: not even one number of theirs is in the row."""
    used = [clip for clip in clips if len(clip.problems) < len(clip.keys) or (clip.keys and not clip.problems)]
    return {
        "clips_used": len(used),
        "frames_used": sum(clip.num_frames for clip in used),
        "clips_left_out": len(clips) - len(used) + len(row.left_out),
    }


def _left_out(row: Row, clips: list[Measured]) -> list[tuple[str, str]]:
    """(clip, why) of everything in the row that is missing from any column."""
    found = list(row.left_out.items())
    for clip in clips:
        found += [(clip.key, f"{name}: {reason}") for name, reason in clip.problems.items()]
    return found


def _clips(evaluation: VideoEvaluation) -> list[dict[str, Any]]:
    """Every video that was looked at, by its content."""
    found = []
    for row in evaluation.rows:
        for item, clip in zip(row.items, evaluation.found[row.name], strict=True):
            found.append(
                {
                    "key": clip.key, "row": row.name, "file": item.video.name, "sha256": clip.sha256,
                    "sound_sha256": clip.sound_sha256, "frames": clip.num_frames,
                }
            )  # fmt: skip
    return found


def identity_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """What two results must share to stand in one table."""
    reference = sorted(
        (clip["key"], clip["sha256"], clip.get("sound_sha256"))  # of a run the sound lies beside the video
        for clip in results["clips"]
        if results["rows"][clip["row"]]["kind"] == "reference"
    )
    keys = sorted({clip["key"] for clip in results["clips"] if results["rows"][clip["row"]]["kind"] == "method"})
    return {
        "protocol": results["protocol"],
        "networks": results["networks"],
        "clips": keys,
        "reference": reference,
    }
