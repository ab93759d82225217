"""Do the controls fall where they must? If not, the numbers beside them mean nothing."""

import warnings
from dataclasses import dataclass

import numpy as np

from moda.eval.intervals import mean_interval
from moda.eval.metrics.base import Score
from moda.eval.videos.evaluate import VideoEvaluation


@dataclass(frozen=True)
class Check:
    """passed: None where it cannot be told from so few clips. what: the expectation in words; seen: the numbers."""

    what: str
    passed: bool | None
    seen: str


def checks_of(evaluation: VideoEvaluation) -> list[Check]:
    """Every check that the rows allow."""
    rows = evaluation.scores.rows
    methods = [row.name for row in evaluation.rows if row.kind == "method"]
    found = []
    for column, above, what in (
        ("sync_c", True, "Sync-C with another clip's sound is below"),
        ("sync_d", False, "Sync-D with another clip's sound is above"),
        ("audio_visual_correlation", True, "the lips follow another clip's sound less than"),
        ("bilabial_closure", True, "the lips close less at the p, b and m of another clip's sound than of"),
        ("within", True, "another clip's sound is in sync less often than"),
    ):
        wrong = rows.get("mismatched_audio", {}).get(column)
        for name in ("ground_truth", *methods):
            right = rows.get(name, {}).get(column)
            if wrong and right and wrong.value is not None and right.value is not None:
                passed, seen = own_against_other(right, wrong, name, above)
                found.append(Check(f"{what} the own sound of {_title(evaluation, name)}", passed, seen))
    found += _static(evaluation)
    found += _reencoded(evaluation)
    return found


def own_against_other(right: Score, wrong: Score, name: str, above: bool) -> tuple[bool | None, str]:
    """Whether the clips of row ``name`` score higher (``above``) or lower with their own sound than with another's.

    Over the very clips of the row where the mismatched row has them, which without a reference is made of all
    methods' clips, each as ``CLIP@METHOD``; else row against row.
    """
    keys = {
        clip: next((key for key in (f"{clip}@{name}", clip) if key in wrong.per_clip), "") for clip in right.per_clip
    }
    pairs = [(right.per_clip[clip], wrong.per_clip[key]) for clip, key in keys.items() if key]
    if len(pairs) < 2:
        assert right.value is not None and wrong.value is not None, "asked for with rows that have a score"
        holds = right.value > wrong.value if above else right.value < wrong.value
        return _clear(holds, right, wrong), f"{_text(wrong)}, {_text(right)}"
    own, other = np.array(pairs).T
    gains = own - other if above else other - own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the row's own caution says it
        interval = mean_interval(gains)
    passed = True if interval.value > 0 else None if interval.high >= 0 else False
    return passed, f"{other.mean():.3g}, {own.mean():.3g}"


def _clear(holds: bool, one: Score, other: Score) -> bool | None:
    """None for an expectation that fails while the two intervals overlap, or where there is none."""
    if holds or not one.interval or not other.interval:
        return holds or None
    return None if one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1] else False


def _static(evaluation: VideoEvaluation) -> list[Check]:
    rows, found = evaluation.scores.rows, []
    static = rows.get("static", {})
    if moves := static.get("head_range"):
        found.append(
            Check("a static image does not turn its head (below 0.5°)", (moves.value or 0) < 0.5, _text(moves))
        )
    follows = static.get("audio_visual_correlation")
    if "static" in rows:
        value = follows.value if follows and follows.value is not None else None
        seen = "undefined, as nothing moves" if value is None else _text(follows)
        found.append(
            Check(
                "the lips of a static image do not follow the sound (|r| below 0.2)",
                value is None or abs(value) < 0.2,
                seen,
            )
        )
    video, truth = evaluation.labels.get("video", ""), rows.get("reencoded", {})
    if video in static and video in truth:
        found.append(Check(
            f"a static image is further from the truth in {video} than the truth re-encoded",
            (static[video].value or 0) > (truth[video].value or 0), f"{_text(static[video])}, {_text(truth[video])}",
        ))  # fmt: skip
    return found


def _reencoded(evaluation: VideoEvaluation) -> list[Check]:
    rows, found = evaluation.scores.rows, []
    methods = [row.name for row in evaluation.rows if row.kind == "method"]
    for label in (evaluation.labels.get("image", ""), evaluation.labels.get("video", "")):
        again = rows.get("reencoded", {}).get(label)
        for name in methods:
            other = rows.get(name, {}).get(label)
            if again and other and again.value is not None and other.value is not None:
                what = f"the truth re-encoded is nearer to the truth in {label} than {_title(evaluation, name)}"
                found.append(Check(what, again.value < other.value, f"{_text(again)}, {_text(other)}"))
    return found


def _title(evaluation: VideoEvaluation, name: str) -> str:
    return next(row.title for row in evaluation.rows if row.name == name)


def _text(score: Score | None) -> str:
    if score is None or score.value is None:
        return "undefined"
    return f"{score.value:.3g}"
