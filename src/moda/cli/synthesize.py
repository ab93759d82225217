"""``moda synthesize``: a talking-head corpus whose motion is known."""

import argparse
import os
from pathlib import Path

from moda.data.schema import EMOTIONS
from moda.synthesis.corpus import synthesize, write_held_out_speech
from moda.synthesis.plan import CORPUS_EMOTIONS, plan_corpus
from moda.synthesis.voice import DEFAULT_VOICE, VOICES


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda synthesize",
        description="Render talking heads from a packaged voice and a CC0 head, with the motion that drove them kept "
        "beside each video. Run it again after an interruption: finished clips are kept.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for SPEAKER/CLIP.{mp4,motion.npz,json}")
    parser.add_argument("--speakers", type=int, default=8, help="identities: a head, a voice and a manner each")
    parser.add_argument("--clips", type=int, default=6, help="clips of each speaker")
    parser.add_argument("--seconds", type=float, default=5.0, help="about how long a clip lasts; sentences are whole")
    parser.add_argument("--size", type=int, default=256, help="side of the square video in pixels")
    parser.add_argument("--supersample", type=int, default=2, help="rendered pixels per pixel along each side")
    parser.add_argument("--emotions", nargs="+", default=list(CORPUS_EMOTIONS), choices=EMOTIONS, metavar="EMOTION",
                        help=f"what to draw from: {', '.join(EMOTIONS)}")  # fmt: skip
    parser.add_argument("--intensity", nargs=2, type=float, default=(0.5, 1.0), metavar=("LOW", "HIGH"),
                        help="of the emotions, 0 is neutral and 1 in full")  # fmt: skip
    parser.add_argument("--voices", nargs="+", default=[DEFAULT_VOICE], choices=VOICES, metavar="VOICE",
                        help=f"some of {', '.join(VOICES)}; flite_slt is a woman's")  # fmt: skip
    parser.add_argument("--sway", type=float, default=1.0, help="factor on the movement of the heads")
    parser.add_argument("--held-out", type=int, default=0, metavar="N",
                        help="the last N speakers say sentences that no other says: unseen speech, for a test split")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of everything that is left to chance")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    parser.add_argument("--speech", type=Path, help="also write this WAV: sentences and a voice that no clip has")
    arguments = parser.parse_args(argv)
    if arguments.workers < 1:
        parser.error(f"--workers is {arguments.workers}; give at least 1")
    plans = plan_corpus(
        identities=arguments.speakers,
        clips_per_identity=arguments.clips,
        seconds=arguments.seconds,
        size=arguments.size,
        supersample=arguments.supersample,
        seed=arguments.seed,
        emotions=arguments.emotions,
        intensities=tuple(arguments.intensity),
        sway=arguments.sway,
        voices=arguments.voices,
        held_out=arguments.held_out,
    )
    if arguments.speech is not None:
        text = write_held_out_speech(arguments.speech, plans)
        print(f"held-out speech in {arguments.speech}: {text}")
    skipped = synthesize(arguments.out, plans, workers=arguments.workers)
    kept = f", {skipped} of them kept from before" if skipped else ""
    print(f"{len(plans)} clips of {arguments.speakers} speakers in {arguments.out}{kept}")
    if arguments.held_out:
        names = sorted({plan.speaker.name for plan in plans})[-arguments.held_out :]
        print(f"held out, for moda prepare: splits.test=0 splits.pinned.test=[{','.join(names)}]")
    return 0
