"""Does a SyncNet find by how much a sound was moved? python tests/benchmarks/planted_offsets.py NETWORK VIDEO...

Of each video the first face track is cropped as ``moda evaluate`` crops it under mhe-v1. Its sound is then moved
by -5 to 5 frames against the pictures, with real sound beside every picture, and scored. Printed: the offset
found at each planted one, and the share of the shifts of 5 to 15 frames that are further from the mouth than the
sound as it is.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from moda.build import build
from moda.cli.hydra_app import compose
from moda.errors import UserError
from moda.eval.networks import SyncNet
from moda.eval.networks.syncnet import FRAMES
from moda.eval.sync import SHIFT, distance_curve, embed_frames, embed_sound
from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.extractors.detectors import LandmarkDetector
from moda.eval.videos.extractors.sync import SyncExtractor
from moda.eval.videos.measure import Item, view_of
from moda.files import sha256_of

SAMPLES = 640  # a frame
MOST = 5  # frames, of a planted offset
PLANTED = range(-MOST, MOST + 1)
FAR = np.abs(np.arange(-SHIFT, SHIFT + 1)) >= MOST


def curves_of(network: SyncNet, video: Path, extractor: SyncExtractor, cache: FeatureCache) -> list[np.ndarray]:
    """A curve (31,) for each planted offset, -5 to 5. Raises UserError where ``moda evaluate`` would."""
    view = view_of(Item(video.stem, video), extractor.protocol, cache)
    assert view is not None
    tracking = extractor.begin(view)
    for block in view.blocks():
        tracking.add(block)
    track = tracking.tracks()[0]
    crops = np.stack(list(tracking.crops(track)))
    audio = tracking.audio[track.start * SAMPLES :]
    usable = min(len(crops), len(audio) // SAMPLES) - 2 * MOST  # frames with sound at every planted offset
    windows = usable - FRAMES
    with torch.inference_mode():
        mouths = embed_frames(crops[MOST : MOST + windows + FRAMES - 1], network)
        return [
            distance_curve(mouths, embed_sound(audio[(MOST + planted) * SAMPLES :], windows, network)).numpy()
            for planted in PLANTED
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--set", nargs="+", default=[], metavar="protocol.KEY=VALUE", help="as for moda evaluate")
    arguments = parser.parse_args()
    protocol = build(OmegaConf.to_container(compose("evaluate", arguments.set).protocol))
    network = SyncNet.from_pretrained(arguments.network)
    extractor = SyncExtractor(network, sha256_of(arguments.network), "", LandmarkDetector(), protocol)
    near: list[bool] = []
    further: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for video in arguments.videos:
            try:
                curves = curves_of(network, video, extractor, FeatureCache(folder))
            except UserError as error:
                print(f"{video.name}: left out, {error}")
                continue
            found = [SHIFT - int(curve.argmin()) for curve in curves]
            near += [abs(offset - planted) <= 1 for planted, offset in zip(PLANTED, found, strict=True)]
            as_it_is = curves[MOST]
            further.append(float((as_it_is[FAR] > as_it_is[SHIFT]).mean()))
            print(f"{video.name}: {' '.join(map(str, found))}; {further[-1]:.0%} of the far shifts are further")
    print(f"within one frame of the planted offset: {sum(near)} of {len(near)}, {np.mean(near):.1%}")
    print(f"far shifts that are further than the sound as it is: {np.mean(further):.1%}, all of {len(further)} videos")


if __name__ == "__main__":
    main()
