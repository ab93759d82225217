"""Networks that measure and render, on the fake GPU: LivePortrait's codec, and those of evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fake_device import GPU, NAME
from fake_watch import Watch
from torch import nn

from moda.bench.codec import synthetic_motion, synthetic_portrait
from moda.codec.liveportrait import LivePortraitCodec
from moda.codec.liveportrait.crop import INPUT
from moda.codec.liveportrait.driving import Driving
from moda.codec.liveportrait.files import FILES
from moda.codec.liveportrait.keypoints import FaceMotion
from moda.codec.liveportrait.source import Source, driven_keypoints
from moda.eval import networks
from moda.eval.networks.pretrained import PretrainedNetwork
from moda.eval.sync import sync_score
from moda.eval.videos.extractors.detectors import S3FDDetector
from moda.eval.videos.extractors.features import FeatureNetwork, for_i3d, for_physnet

FRAMES = 3
Videos = Callable[[np.ndarray], torch.Tensor] | None


def liveportrait(folder: Path, watch: Watch) -> dict[str, Any]:
    """Every network of the codec, and two batches of frames rendered through all of them, in bfloat16."""
    for file in FILES.values():
        path = folder / file.folder / f"{file.stem}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with patch("moda.codec.liveportrait.networks.load", lambda network, *_: _frozen(network)):
        codec = LivePortraitCodec(folder, device=NAME, precision="bfloat16", batch=FRAMES)
        codec.load_all()
    heads = codec.heads(np.zeros((FRAMES, INPUT, INPUT, 3), np.uint8))
    with torch.inference_mode():
        feature = codec.appearance_feature_extractor(codec._tensor(np.zeros((1, INPUT, INPUT, 3), np.uint8)))
    source = synthetic_portrait(codec).source
    assert isinstance(source, Source)
    motion = FaceMotion.of(synthetic_motion(2 * FRAMES))
    openings = 0.3, np.full(2 * FRAMES, 0.1)
    keypoints = driven_keypoints(codec, source, motion, source.motion, Driving(stitching=True), *openings)
    own = torch.from_numpy(source.keypoints).to(codec.device)
    with watch.phase("rendering"):
        pixels = torch.cat([codec._render(source.feature, own, batch)[0] for batch in keypoints.split(FRAMES)])
    return {
        "heads": {name: list(values.shape) for name, values in heads.items()},
        "feature": [str(feature.dtype), feature.device.type, *feature.shape],
        "pixels": [str(pixels.dtype), pixels.device.type, *pixels.shape],
    }


def features(name: str, output: str, prepare: Videos, watch: Watch) -> dict[str, Any]:
    """A feature network on pictures, or (``prepare``) on a clip."""
    network = FeatureNetwork(name, _on_gpu(getattr(networks, name)), output, "", prepare)
    clip = np.zeros((16, 256, 256, 3), np.uint8)
    batch = torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous() if prepare is None else prepare(clip)[None]
    return {"shape": list(network(batch).shape)}


def sync(watch: Watch) -> dict[str, Any]:
    """The curve of Sync-C and Sync-D of a face track."""
    sound = np.random.default_rng(0).normal(0, 1000, 640 * 25).astype(np.int16)
    frames = np.zeros((25, 224, 224, 3), np.uint8)
    return {"shape": list(sync_score(frames, sound, _on_gpu(networks.SyncNet)).curve.shape)}


def detector(watch: Watch) -> dict[str, Any]:
    """Faces of a picture."""
    found = S3FDDetector(_on_gpu(networks.S3FD), "").detect(np.zeros((256, 320, 3), np.uint8), 0.9, 0.5)
    return {"shape": list(found.shape)}


def emotion(watch: Watch) -> dict[str, Any]:
    """Emotions of faces."""
    faces = torch.zeros(FRAMES, 1, 64, 64, dtype=torch.uint8).to(GPU)
    return {"shape": list(_on_gpu(networks.MiniXception)(faces)["probabilities"].shape)}


FEATURES: dict[str, tuple[str, Videos]] = {
    "FIDInception": ("2048", None),
    "EfficientNetLite0": ("features", None),
    "I3D": ("logits", for_i3d),
    "PhysNet": ("features", for_physnet),
}


def _on_gpu(kind: type[PretrainedNetwork]) -> Any:
    with torch.device("meta"):
        network = kind()
    return _frozen(network)


def _frozen(network: nn.Module) -> nn.Module:
    return network.to(GPU).eval().requires_grad_(False)
