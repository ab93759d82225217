"""The stand-in networks see what they are there to see: the worse the frames, the further away."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from moda.eval.distances import frechet_distance
from moda.eval.moments import Moments
from moda.eval.networks import EfficientNetLite0, PhysNet
from moda.eval.videos.extractors.features import for_physnet
from moda.weights import find

CLIPS, FRAMES, SIDE = 24, 16, 64


@pytest.fixture(scope="module")
def videos() -> np.ndarray:
    """Blobs that move smoothly over a texture: uint8 RGB (CLIPS, FRAMES, SIDE, SIDE, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    clips = []
    for _ in range(CLIPS):
        ground = gaussian_filter(rng.normal(0, 60, (SIDE, SIDE, 3)), (1.2, 1.2, 0)) + rng.uniform(60, 160, 3)
        centre, speed, colour = rng.uniform(16, 48, 2), rng.uniform(-1.5, 1.5, 2), rng.uniform(-90, 90, 3)
        places = centre + speed * np.arange(FRAMES)[:, None]
        blobs = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 80)[..., None] * colour for a, b in places]
        clips.append(np.clip(ground + np.array(blobs), 0, 255))
    return np.array(clips).astype(np.uint8)


def blurred(videos: np.ndarray, amount: float) -> np.ndarray:
    return gaussian_filter(videos.astype(np.float32), (0, 0, amount, amount, 0)).astype(np.uint8)


def noisy(videos: np.ndarray, amount: float) -> np.ndarray:
    return np.clip(videos + np.random.default_rng(1).normal(0, amount, videos.shape), 0, 255).astype(np.uint8)


def frozen(videos: np.ndarray, frames: int) -> np.ndarray:
    """Every frame is held for so many."""
    return videos[:, np.arange(FRAMES) // frames * frames]


def shuffled(videos: np.ndarray, share: float) -> np.ndarray:
    rng, order = np.random.default_rng(2), np.arange(FRAMES)
    chosen = rng.permutation(FRAMES)[: round(share * FRAMES)]
    order[np.sort(chosen)] = chosen
    return videos[:, order]


def assert_rises(distances: list[float]) -> None:
    assert distances[0] == pytest.approx(0, abs=1e-6 * max(distances))
    assert all(a < b for a, b in pairwise(distances)), distances


@pytest.mark.slow
@pytest.mark.parametrize("fault, amounts", [(blurred, (0, 0.7, 1.5, 3)), (noisy, (0, 5, 15, 40))])
def test_image_distances_rise_with_blur_and_noise(videos: np.ndarray, fault, amounts) -> None:
    network = EfficientNetLite0.from_pretrained(find("efficientnet_lite0"))

    def moments(frames: np.ndarray) -> Moments:
        chosen = torch.from_numpy(frames[:, ::8].reshape(-1, SIDE, SIDE, 3)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return Moments.of(network(chosen)["features"][:, ::16])  # 80 of 1,280: as many as samples can tell apart

    truth = moments(videos)
    assert_rises([frechet_distance(moments(fault(videos, amount) if amount else videos), truth) for amount in amounts])


@pytest.mark.slow
@pytest.mark.parametrize("fault, amounts", [
    (blurred, (0, 0.7, 1.5, 3)), (noisy, (0, 5, 15, 40)), (frozen, (1, 2, 4, 16)), (shuffled, (0, 0.4, 1)),
])  # fmt: skip
def test_video_distances_rise_with_faults_in_space_and_time(videos: np.ndarray, fault, amounts) -> None:
    network = PhysNet.from_pretrained(find("physnet"))

    def moments(frames: np.ndarray) -> Moments:
        with torch.inference_mode():
            return Moments.of(network(torch.stack([for_physnet(clip) for clip in frames]))["features"])

    truth = moments(videos)
    assert_rises([frechet_distance(moments(fault(videos, amount) if amount else videos), truth) for amount in amounts])
