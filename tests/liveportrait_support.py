"""A LivePortrait codec whose networks are small functions, so that what is built around them can be watched."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moda.codec.liveportrait import LivePortraitCodec
from moda.codec.liveportrait.crop import Crop
from moda.codec.liveportrait.files import FILES
from moda.codec.liveportrait.keypoints import LAYOUT, FaceMotion
from moda.codec.liveportrait.motion_extractor import HEADS
from moda.codec.liveportrait.source import Source
from moda.face.landmarker import Face


def heads_of(image: Tensor) -> dict[str, Tensor]:
    """Heads that are linear in the mean colour of the image (B, 3, H, W)."""
    colour = image.mean((2, 3))
    generator = torch.Generator().manual_seed(0)
    heads = {name: colour @ torch.randn(3, width, generator=generator) for name, width in HEADS.items()}
    heads["scale"] = 1 + 0.1 * heads["scale"].abs()
    return heads


def warp(feature: Tensor, kp_driving: Tensor, kp_source: Tensor) -> dict[str, Tensor]:
    """Mean shift of the keypoints in x and y as two constant maps."""
    shift = (kp_driving - kp_source)[..., :2].mean(1)
    return {"out": shift[:, :, None, None].expand(-1, -1, 64, 64)}


def generate(warped: Tensor) -> Tensor:
    """Red and green are the two maps, around one half."""
    colours = torch.nn.functional.pad(0.5 + warped.mean((2, 3)), (0, 1), value=0.25)
    return colours[:, :, None, None].expand(-1, -1, 512, 512)


def stitch(x: Tensor) -> Tensor:
    """Every keypoint moves by 0.01 in all directions, and all of them by (0.1, 0.2) more."""
    return torch.cat([torch.full((len(x), 63), 0.01), torch.tensor([[0.1, 0.2]]).expand(len(x), -1)], 1)


def opened_lips(x: Tensor) -> Tensor:
    """The wanted ratio less the source's, at every coordinate."""
    return (x[:, 64:65] - x[:, 63:64]).expand(-1, 63)


def opened_eyes(x: Tensor) -> Tensor:
    """The wanted ratio less the mean of the source's, at every coordinate."""
    return (x[:, 65:66] - x[:, 63:65].mean(1, keepdim=True)).expand(-1, 63)


class Landmarker:
    """Finds a face in the middle of every picture that is not black."""

    def detect(self, rgb: np.ndarray) -> list[Face]:
        if not rgb.any():
            return []
        height, width = rgb.shape[:2]
        points = np.zeros((478, 3), np.float32)
        points[:, :2] = np.random.default_rng(0).uniform(-0.2, 0.2, (478, 2)) * min(height, width)
        for pair, place in (((33, 133), (-0.1, -0.1)), ((362, 263), (0.1, -0.1)), ((61, 291), (0.0, 0.1))):
            for index, side in zip(pair, (-1, 1), strict=True):
                points[index, :2] = np.array([place[0] + 0.04 * side, place[1]]) * min(height, width)
        for pair, source in (((159, 145), (33, 133)), ((386, 374), (362, 263)), ((13, 14), (61, 291))):
            middle = points[list(source), :2].mean(0)
            for index, side in zip(pair, (-1, 1), strict=True):
                points[index, :2] = middle + np.array([0, 0.008 * side]) * min(height, width)
        points[:, :2] += (width / 2, height / 2)
        return [Face(points, np.zeros(52, np.float32), (0, 0, width, height))]


def make_codec(tmp_path: Path, **settings) -> LivePortraitCodec:
    for file in set(FILES.values()):
        path = tmp_path / "weights" / file.folder / f"{file.stem}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    codec = LivePortraitCodec(tmp_path / "weights", **{"device": "cpu", **settings})
    vars(codec).update(
        appearance_feature_extractor=lambda image: torch.zeros(len(image), 32, 16, 64, 64),
        motion_extractor=heads_of,
        warping_module=warp,
        spade_generator=generate,
        stitching=stitch,
        lip=opened_lips,
        eye=opened_eyes,
        landmarker=Landmarker(),
    )
    return codec


def random_motion(frames: int, seed: int = 0) -> np.ndarray:
    """(frames, 70): offsets of 0.02, scale about 1.3, angles of some degrees."""
    motion = np.random.default_rng(seed).normal(0, 0.02, (frames, LAYOUT.dim))
    motion[:, LAYOUT.groups["scale"]] += 1.3
    motion[:, LAYOUT.groups["rotation"]] *= 300
    return motion.astype(np.float32)


def make_source(lip_ratio: float = 0.1, seed: int = 5) -> Source:
    rng = np.random.default_rng(seed)
    canonical = rng.normal(0, 0.2, (21, 3)).astype(np.float32)
    picture = rng.integers(0, 255, (300, 400, 3), np.uint8)
    eyes = np.array([0.2, 0.4], np.float32)
    motion = FaceMotion.of(random_motion(1, seed))
    return Source(torch.zeros(1, 32, 16, 64, 64), canonical, motion, eyes, lip_ratio, picture, Crop(np.eye(3)))
