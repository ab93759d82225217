"""What a preparation did: report.json, report.html and the lines printed at the end."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from moda.data.schema import DatasetManifest
from moda.data_prep.records import VideoRecord
from moda.data_prep.settings import FPS
from moda.files import atomic_path, write_json
from moda.progress import clock

REPORT_NAME = "report.json"
PAGE_NAME = "report.html"
MAX_THUMBNAILS = 240  # on the page, which holds them itself


def describe(
    request: Mapping[str, Any], videos: Sequence[VideoRecord], manifest: DatasetManifest, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The report as plain values. request: what the run was asked for. notes: what a reader should know beside."""
    split_of = {speaker: split for split, names in manifest.splits.items() for speaker in names}
    used = [video for video in videos if video.item.clips]
    frames = sum(shard.num_frames for shard in manifest.shards)
    return {
        "clips": sum(shard.num_samples for shard in manifest.shards),
        "seconds": frames / FPS,
        "duration": clock(frames / FPS),
        "videos": len(videos),
        "videos_used": len(used),
        "speakers": len(split_of),
        "splits": _splits(manifest),
        "notes": [*_notes(manifest), *notes],
        "rejected": [{"file": video.file, "reason": video.item.reason} for video in videos if video.item.rejected],
        "used": [
            {
                "file": video.file,
                "speaker": video.labels.speaker,
                "emotion": video.labels.emotion,
                "split": split_of[video.labels.speaker],
                "notes": [*video.item.notes, *video.labels.notes],
                "clips": [
                    {"key": c.key, "start": c.start / FPS, "seconds": c.num_frames / FPS, "crop": c.crop} | c.quality
                    for c in video.item.clips
                ],
            }
            for video in used
        ],
        "milliseconds_per_frame": _stage_cost(videos),
        "dead_dimensions": list(manifest.statistics.dead),
        "layout": manifest.layout.name,
        "fingerprint": manifest.fingerprint,
        "request": request,
    }


def summary_lines(report: dict[str, Any], out: Path) -> list[str]:
    """What is printed at the end of a run: what was used, then each file with something to say, one line each."""
    lines = [
        f"used {report['clips']} clips ({report['duration']}) from {report['videos_used']} of {report['videos']} videos, "
        f"{report['speakers']} speakers"
    ]
    lines += [
        f"  {split:<5} {part['clips']:>6} clips  {part['duration']:>9}  {part['speakers']} speakers"
        for split, part in report["splits"].items()
    ]
    lines += [f"  note: {note}" for note in report["notes"]]
    with_notes = {entry["file"]: "; ".join(entry["notes"]) for entry in report["used"] if entry["notes"]}
    without = {entry["file"]: entry["reason"] for entry in report["rejected"]}
    return [
        *lines,
        *_table("used with a note:", with_notes),
        *_table("not used:", without),
        f"report: {out / PAGE_NAME}",
    ]


def rejection_lines(videos: Sequence[VideoRecord]) -> list[str]:
    """What is printed when no video can be used."""
    return _table("not used:", {video.file: video.item.reason for video in videos})


def write_report(out: Path, report: dict[str, Any], videos: Sequence[VideoRecord]) -> None:
    """Write report.json and report.html."""
    write_json(out / REPORT_NAME, report)
    pictures = [
        {"file": video.file, "data": f"data:image/jpeg;base64,{picture}"}
        for video in videos
        for picture in video.clip_pictures
    ]
    step = max(1, -(-len(pictures) // MAX_THUMBNAILS))  # spread evenly over a set that is too large
    environment = Environment(
        loader=PackageLoader("moda.data_prep"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        report=report, pictures=pictures[::step], complete=len(pictures[::step]) == report["clips"]
    )
    with atomic_path(out / PAGE_NAME) as temporary:
        temporary.write_text(page)


def _table(title: str, rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [title, *(f"  {name:<{width}}  {text}" for name, text in rows.items())] if rows else []


def _splits(manifest: DatasetManifest) -> dict[str, dict[str, Any]]:
    parts = {}
    for split, names in manifest.splits.items():
        shards = manifest.shards_of(split)
        frames = sum(shard.num_frames for shard in shards)
        parts[split] = {
            "speakers": len(names),
            "clips": sum(shard.num_samples for shard in shards),
            "shards": len(shards),
            "seconds": frames / FPS,
            "duration": clock(frames / FPS),
        }
    return parts


def _notes(manifest: DatasetManifest) -> list[str]:
    """What a reader should know of the whole set."""
    speakers = sum(map(len, manifest.splits.values()))
    missing = [split for split in ("val", "test") if split not in manifest.splits]
    if not missing:
        return []
    reason = f"there are only {speakers} speakers" if speakers < 3 else "their share is 0"
    return [f"no {' and no '.join(missing)} split, as {reason}; splits never share a speaker"]


def _stage_cost(videos: Sequence[VideoRecord]) -> dict[str, float]:
    """Milliseconds of one core for each frame of the videos that were used, by stage."""
    seconds: defaultdict[str, float] = defaultdict(float)
    frames = 0
    for video in videos:
        if video.item.clips:
            frames += sum(clip.num_frames for clip in video.item.clips)
            for stage, spent in video.item.seconds.items():
                seconds[stage] += spent
    return {stage: round(1000 * spent / frames, 2) for stage, spent in seconds.items()}
