"""``moda demo``: the whole road on rendered heads, offline, on a CPU.

Every stage is a command that a user could have typed; the demo prints it, runs it in a process of
its own and notes in OUT/demo.json that it is done. Interrupted, it goes on where it stopped.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from moda.errors import UserError
from moda.files import read_json, write_json

INTERRUPTED = 130  # exit status of a command that Ctrl-C ended


@dataclass(frozen=True)
class Stage:
    """One command of the road; ``product`` is the path whose presence shows that it ran."""

    title: str
    arguments: tuple[str, ...]
    product: Path


def stages(out: Path, workers: int) -> list[Stage]:
    """The road, in order. Sizes are chosen so that two cores walk it in about ten minutes."""
    videos, dataset, runs = out / "videos", out / "dataset", out / "runs"
    dit = runs / "dit"
    speech = out / "speech.wav"
    return [
        Stage(
            "Render talking heads whose motion is known",
            ("synthesize", "--out", f"{videos}", "--speakers", "10", "--workers", f"{workers}", "--speech", f"{speech}"),
            videos / "corpus.json",
        ),
        Stage(
            "Prepare shards: crop, motion, identity, speech features",
            ("prepare", f"source={videos}", f"out={dataset}", f"workers={workers}", "video_size=256", "splits.test=2"),
            dataset / "dataset.json",
        ),
        Stage(
            "Train the motion VAE",
            ("train", "experiment=demo_motion_vae", f"data.path={dataset}", f"run_dir={runs / 'motion_vae'}"),
            runs / "motion_vae" / "export",
        ),
        Stage(
            "Train the diffusion transformer",
            ("train", "experiment=demo_dit", f"data.path={dataset}", f"model.motion_vae={runs / 'motion_vae'}", f"run_dir={dit}"),
            dit / "export",
        ),
        Stage(
            "Generate a talking head from speech it never heard",
            ("generate", "--checkpoint", f"{dit}", "--portrait", "head:1000", "--audio", f"{speech}", "--out", f"{out / 'talking_head.mp4'}"),
            out / "talking_head.mp4",
        ),
        Stage(
            "Score it on held-out speakers and held-out speech",
            ("evaluate", f"run={dit}", "protocol=motion", "emotion_clips=0", "minutes=0", f"video={out / 'talking_head.mp4'}"),
            dit / "evaluation" / "report.html",
        ),
    ]  # fmt: skip


def run(out: Path, workers: int) -> None:
    """Run the stages that are not done yet; a stage is done when the same command finished before."""
    record = out / "demo.json"
    finished = read_json(record) if record.is_file() else {}
    road = stages(out, workers)
    began = time.monotonic()
    for number, stage in enumerate(road, 1):
        command = shlex.join(("moda", *stage.arguments))
        print(f"\n[{number}/{len(road)}] {stage.title}\n    {command}", flush=True)
        if stage.product.exists() and stage.title in finished:
            print(f"    done before, in {finished[stage.title]:.0f} s", flush=True)
            continue
        seconds = _run_stage(stage)
        finished[stage.title] = round(seconds, 1)
        write_json(record, finished)
        print(f"    {seconds:.0f} s", flush=True)
    _say_what_came_out(out, time.monotonic() - began)


def _run_stage(stage: Stage) -> float:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "moda.cli.main", *stage.arguments])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the stage got the same signal; it puts its work away before it goes
        raise
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise UserError(
            f"'{stage.title}' failed with status {status}; its own message is above. Run the demo again to go on"
        )
    if not stage.product.exists():
        raise UserError(
            f"'{stage.title}' finished but {stage.product} is not there; delete its folder and run the demo again"
        )
    return time.monotonic() - began


def _say_what_came_out(out: Path, seconds: float) -> None:
    dit = out / "runs" / "dit"
    print(
        f"\nDone in {seconds / 60:.1f} minutes.\n"
        f"  video    {(out / 'talking_head.mp4').resolve()}\n"
        f"  report   {(dit / 'evaluation' / 'report.html').resolve()}\n"
        f"  run      {dit.resolve()}"
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda demo",
        description="Render a small corpus of talking heads, prepare it, train the motion VAE and the diffusion "
        "transformer on it, generate a video and score the model on held-out speakers. Offline, on a CPU, in about "
        "ten minutes on two cores. Run it again after an interruption: finished stages are skipped.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that render and prepare (default: cores)"
    )
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run(arguments.out, arguments.workers)
    return 0
