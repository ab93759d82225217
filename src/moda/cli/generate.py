"""``moda generate``: portrait and speech to video."""

import argparse

from moda.data.schema import EMOTIONS

EXAMPLES = """examples:
  moda generate --checkpoint runs/dit --portrait me.jpg --audio speech.wav --out talk.mp4
  moda generate --checkpoint runs/dit --portrait head:7 --audio speech.mp3 --out talk.mp4 --emotion happiness
  moda generate --checkpoint runs/dit --portrait me.jpg --audio speech.flac --out talk.mp4 --seed 3 --steps 20
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moda generate",
        description="Make a portrait say what a sound file says. Speech may be of any length: frames are\nwritten as they "
        "are made, and the video appears under its name when it is whole.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="RUN", help="run folder, or its export folder")
    add("--portrait", required=True, metavar="IMAGE|NAME", help="image with a face, or a named identity such as head:7")
    add("--audio", required=True, metavar="FILE", help="speech: wav, flac, mp3 or a video with sound, at any rate")
    add("--out", required=True, metavar="FILE.mp4", help="video to write; its folder is made if need be")
    add("--emotion", metavar="NAME", help=f"one of {', '.join(EMOTIONS)} (default: left open)")
    add("--seed", type=int, default=0, metavar="N", help="another seed moves otherwise (default: %(default)s)")
    add("--steps", type=int, metavar="N", help="steps of the flow solver (default: the run's own)")
    add("--guidance", type=float, metavar="X", help="classifier-free guidance, 1 is none (default: the run's own)")
    add("--size", type=int, metavar="PX", help="side of the video in pixels (default: the codec's own)")
    add("--motion", metavar="FILE.npz", help="write the motion there as well")
    add("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    add("--no-progress", action="store_true", help="print the result only")
    return parser


def main(argv: list[str]) -> int:
    arguments = parser().parse_args(argv)
    from moda.generation.pipeline import generate  # torch takes its time; --help should not

    made = generate(
        arguments.checkpoint,
        arguments.portrait,
        arguments.audio,
        arguments.out,
        emotion=arguments.emotion,
        seed=arguments.seed,
        steps=arguments.steps,
        guidance=arguments.guidance,
        size=arguments.size,
        motion_file=arguments.motion,
        device=arguments.device,
        show_progress=not arguments.no_progress,
    )
    work = made.motion_seconds + made.render_seconds
    print(
        f"{made.path}: {made.duration:.2f} s, {made.num_frames} frames at {made.num_frames / work:.0f} frames/s, "
        f"real-time factor {made.real_time_factor:.2f} (motion {made.motion_seconds / made.duration:.2f}, "
        f"rendering {made.render_seconds / made.duration:.2f})"
    )
    return 0
