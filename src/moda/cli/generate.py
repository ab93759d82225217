"""``moda generate``: portrait and speech to video."""

import argparse
from typing import Any

from moda.data.schema import EMOTIONS
from moda.errors import UserError

EXAMPLES = """examples:
  moda generate --checkpoint runs/dit --portrait me.jpg --audio speech.wav --out talk.mp4
  moda generate --checkpoint runs/dit --portrait head:7 --audio speech.mp3 --out talk.mp4 --emotion happiness
  moda generate --checkpoint runs/dit --portrait me.jpg --audio speech.flac --out talk.mp4 --seed 3 --steps 20
  moda generate --checkpoint runs/dit --portrait me.jpg --audio speech.wav --out talk.mp4 --paste-back --codec driving.multiplier=0.8
  moda generate ... --emotion happy:0.8@0-3,sad@3-6 --controls look.csv     columns time,pitch,yaw,roll,...
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
    add("--emotion", metavar="NAME[:INTENSITY][@START-END],...", help=f"{', '.join(EMOTIONS)}; intensity 0 to 1, times in "
        "seconds, as happy:0.8@0-3,sad@3-6 (default: left open)")  # fmt: skip
    add("--controls", metavar="FILE", help=".csv or .npz of signals to obey: time and any of pitch,yaw,roll; "
        "gaze_pitch,gaze_yaw; distance")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="another seed moves otherwise (default: %(default)s)")
    add("--steps", type=int, metavar="N", help="steps of the flow solver (default: the run's own)")
    add("--guidance", metavar="X", help="1 is none; of each condition: audio=2,emotion=1.5 (default: the run's own)")
    add("--size", type=int, metavar="PX", help="side of the video in pixels (default: the codec's own)")
    add("--paste-back", action="store_true", help="show the whole picture of the portrait (liveportrait codec)")
    add(
        "--codec",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="setting of the codec, as driving.mode=relative",
    )
    add("--motion", metavar="FILE.npz", help="write the motion there as well")
    add("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    add("--no-progress", action="store_true", help="print the result only")
    return parser


def codec_settings(texts: list[str]) -> dict[str, Any]:
    """Values by name, nested where a name has dots; they are written as in Hydra overrides."""
    from omegaconf import OmegaConf

    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise UserError(f"--codec {text} is not of the form NAME=VALUE, as --codec driving.mode=relative")
    settings = OmegaConf.to_container(OmegaConf.from_dotlist(texts))
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items()}


def main(argv: list[str]) -> int:
    arguments = parser().parse_args(argv)
    from moda.flow.rectified import parse_guidance
    from moda.generation.pipeline import generate  # torch takes its time; --help should not

    made = generate(
        arguments.checkpoint,
        arguments.portrait,
        arguments.audio,
        arguments.out,
        emotion=arguments.emotion,
        seed=arguments.seed,
        steps=arguments.steps,
        guidance=None if arguments.guidance is None else parse_guidance(arguments.guidance),
        size=arguments.size,
        paste_back=arguments.paste_back,
        codec=codec_settings(arguments.codec),
        controls=arguments.controls,
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
