"""From what was measured to columns: every row, every metric, with its interval and its cautions."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from moda.errors import UserError
from moda.eval.intervals import Interval, paired_difference
from moda.eval.metrics.base import Column, Metric, Score, mean_score, score_all
from moda.eval.metrics.speed import COLUMNS as SPEED_COLUMNS
from moda.eval.takes import Take
from moda.eval.videos.extractors.identity import CSIM, DISTANCE, OWN_COSINE, identity_score
from moda.eval.videos.measure import Measured
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.rows import Row
from moda.eval.videos.scoring.distributions import FeatureSet, distance_differences, distance_scores
from moda.eval.videos.scoring.takes import statistics_of, take_of
from moda.motion.statistics import MotionStatistics
from moda.progress import progress

IDENTITY = {
    CSIM: ("cosine of ArcFace embeddings", "higher"),
    OWN_COSINE: ("cosine of the embeddings of an ArcFace that is not the published one", "higher"),
    DISTANCE: ("distance of dlib's face embeddings, below 0.6 for one person", "lower"),
}
WITHIN = 1  # frames of offset that count as in sync


@dataclass
class Scores:
    """columns: name -> what it is. rows: row name -> column name -> its score. differences: of two methods."""

    columns: dict[str, Column] = field(default_factory=dict)
    rows: dict[str, dict[str, Score]] = field(default_factory=dict)
    differences: dict[tuple[str, str], dict[str, Interval]] = field(default_factory=dict)


Found = Mapping[str, Sequence[Measured]]  # row name -> its clips


def score(
    rows: Sequence[Row],
    found: Found,
    protocol: Protocol,
    metrics: Mapping[str, Metric],
    labels: Mapping[str, str],
    *,
    unpaired: str | None = None,
    speed: Mapping[str, Mapping[str, float]] | None = None,
) -> Scores:
    """Score every row.

    metrics: of takes. labels: extractor -> what its numbers are called. unpaired: name of a row of other
    clips that Fréchet distances are taken to. speed: row -> real-time factors.
    """
    reference = unpaired or ("ground_truth" if "ground_truth" in found else None)
    scores = Scores(rows={row.name: {} for row in rows})
    with progress("scoring", len(rows), "rows") as advance:
        truth = {} if unpaired else {clip.key: clip for clip in found.get("ground_truth", ())}
        basis = truth.values() if truth else [clip for row in rows if row.kind == "method" for clip in found[row.name]]
        statistics = statistics_of(arrays["motion"] for clip in basis if (arrays := clip.get("faces")))
        for row in rows:
            clips, into = found[row.name], scores.rows[row.name]
            for name in ("image", "video"):
                if reference and name in labels and not (row.name == reference and unpaired):
                    into |= _distances(row, clips, found[reference], name, labels[name], protocol)
            if "sync" in labels:
                into |= sync_scores(clips, protocol)
            if "identity" in labels:
                name = "identity" if truth else "identity_kept"
                into |= {name: identity_score(clips, truth, labels["identity"], protocol)}
            if statistics:
                into |= _take_scores(row, clips, truth, metrics, statistics, protocol)
            into |= {name: Score(value, n=1) for name, value in (speed or {}).get(row.name, {}).items()}
            advance(1, row.title)
    methods = [row.name for row in rows if row.kind == "method"]
    _differences(scores, methods, protocol)
    if reference and len(methods) > 1:
        _distance_differences(scores, methods, found, reference, labels, protocol, paired=unpaired is None)
    known = columns(labels, metrics)
    scores.columns = {name: known[name] for name in known if any(name in row for row in scores.rows.values())}
    return scores


def _distances(
    row: Row, clips: Sequence[Measured], reference: Sequence[Measured], name: str, label: str, protocol: Protocol
) -> dict[str, Score]:  # fmt: skip
    ours, theirs = FeatureSet(clips, name), FeatureSet(reference, name)
    paired = bool({item.key for item in row.items} & {clip.key for clip in reference})
    if paired:  # the same clips on both sides
        theirs = FeatureSet([clip for clip in theirs.usable if clip.key in ours.keys], name)
    return distance_scores(
        ours, theirs, label, paired=paired, resamples=protocol.resamples, seed=protocol.seed,
        extrapolate=row.kind == "method", fewest=protocol.fid_frames if name == "image" else 0,
    )  # fmt: skip


def sync_scores(clips: Sequence[Measured], protocol: Protocol) -> dict[str, Score]:
    """Sync columns; a clip is the mean of its tracks, weighted by their frames. Clips without a track have none."""
    per_clip: dict[str, dict[str, float]] = {name: {} for name in ("sync_c", "sync_d", "offset", "within")}
    tracks = 0
    for clip in clips:
        arrays = clip.get("sync")
        if arrays is None:
            continue
        tracks += len(arrays["frames"])
        values = {
            "sync_c": arrays["sync_c"],
            "sync_d": arrays["sync_d"],
            "offset": np.abs(arrays["offset"]),
            "within": np.abs(arrays["offset"]) <= WITHIN,
        }
        for name, of_tracks in values.items():
            per_clip[name][clip.key] = float(np.average(of_tracks, weights=arrays["frames"]))
    drawn = {"seed": protocol.seed, "resamples": protocol.resamples}
    found = {name: mean_score(values, **drawn) for name, values in per_clip.items() if values}
    return {name: replace(score, n_of={"tracks": tracks}) for name, score in found.items()}


def _take_scores(
    row: Row, clips: Sequence[Measured], truth: Mapping[str, Measured], metrics: Mapping[str, Metric],
    statistics: MotionStatistics, protocol: Protocol,
) -> dict[str, Score]:  # fmt: skip
    usable = {name: metric for name, metric in metrics.items() if truth or not metric.needs_truth}
    takes = _takes(row, clips, truth, statistics)
    found = score_all(usable, takes, seed=protocol.seed, resamples=protocol.resamples)
    return {name: score for name, score in found.items() if score.value is not None}


def _takes(
    row: Row, clips: Sequence[Measured], truth: Mapping[str, Measured], statistics: MotionStatistics
) -> Iterator[list[Take]]:
    """One clip after the other; those without a face, or without one in the truth, have none."""
    sounds = {item.key: (item.video, item.sound) for item in row.items}
    for clip in clips:
        faces, beside = clip.get("faces"), truth[clip.key].get("faces") if clip.key in truth else None
        if faces is None or (truth and beside is None):
            continue
        phones = clip.get("phones")
        emotions = _emotions(clip), _emotions(truth.get(clip.key))
        take = take_of(
            clip.key, faces, beside, _sound(*sounds[clip.key]), statistics,
            bilabials=phones["bilabials"] if phones else None, emotions=emotions,
        )  # fmt: skip
        yield [take]


def _emotions(clip: Measured | None) -> np.ndarray | None:
    found = clip and clip.get("emotion")
    return found["probabilities"] if found else None


def _sound(video: Any, sound: Any) -> np.ndarray | None:
    try:
        return open_source(video, sound).audio()
    except UserError:
        return None  # the sync column names it


def _differences(scores: Scores, methods: Sequence[str], protocol: Protocol) -> None:
    """Of every two methods, in every column that has clips."""
    for first, second in combinations(methods, 2):
        into = scores.differences.setdefault((first, second), {})
        ours, theirs = scores.rows[first], scores.rows[second]
        for name in ours.keys() & theirs.keys():
            common = set(ours[name].per_clip) & set(theirs[name].per_clip)
            if len(common) > 1:
                into[name] = _quiet_difference(ours[name].per_clip, theirs[name].per_clip, protocol)


def _distance_differences(
    scores: Scores, methods: Sequence[str], found: Found, reference: str, labels: Mapping[str, str],
    protocol: Protocol, paired: bool,
) -> None:  # fmt: skip
    networks = [name for name in ("image", "video") if name in labels]
    with progress("comparing methods", len(networks), "networks") as advance:
        for name in networks:
            sets = {row: FeatureSet(found[row], name) for row in methods}
            intervals = distance_differences(
                sets, FeatureSet(found[reference], name),
                paired=paired, resamples=protocol.resamples, seed=protocol.seed,
            )  # fmt: skip
            for pair, interval in intervals.items():
                scores.differences[pair][labels[name]] = interval
            advance(1, labels[name])


def _quiet_difference(first: Mapping[str, float], second: Mapping[str, float], protocol: Protocol) -> Interval:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caution says it
        return paired_difference(first, second, resamples=protocol.resamples, seed=protocol.seed)


def columns(labels: Mapping[str, str], metrics: Mapping[str, Metric]) -> dict[str, Column]:
    """Every column there can be, in the order of the report."""
    found: dict[str, Column] = {}
    for name, what in (("image", "single frames"), ("video", "clips of frames")):
        if label := labels.get(name):
            found[label] = Column(
                label, f"Fréchet distance of features of {what} to the reference's", "pictures", "lower"
            )
            found[f"{label}∞"] = Column(
                f"{label}∞", f"{label} extrapolated to infinitely many features, without its bias", "pictures", "lower"
            )
            found[f"KID {label}"] = Column(
                f"KID ({label} features)", "unbiased squared kernel distance of the same features", "pictures", "lower", "·10⁻³"
            )  # fmt: skip
    if "sync" in labels:
        suffix = f" ({labels['sync']})" if labels["sync"] else ""
        group = "lips and sound"
        found["sync_c"] = Column(
            f"Sync-C{suffix}", "confidence: median less minimum of the distances over 31 offsets", group, "truth"
        )
        found["sync_d"] = Column(
            f"Sync-D{suffix}", "least mean distance of mouth and sound over 31 offsets", group, "truth"
        )
        found["offset"] = Column(
            f"|offset|{suffix}", "frames by which sound and mouth are apart where they agree best", group, "0", "frames"
        )
        found["within"] = Column(
            f"offset ≤ 1{suffix}", "share of the clips whose offset is one frame at most", group, "higher"
        )
    if label := labels.get("identity"):
        meaning, better = IDENTITY[label]
        found["identity"] = Column(
            label, f"{meaning}, 16 frames of each clip against the truth's first", "identity", better
        )
        found["identity_kept"] = Column(
            f"{label} to the first frame",
            f"{meaning}, 16 frames of each clip against its own first",
            "identity",
            better,
        )
    return found | {name: metric.column for name, metric in metrics.items()} | SPEED_COLUMNS
