"""Packaged networks that stand in for official ones: they read their files and see what they should."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_rule import by_rule

from moda.errors import UserError
from moda.eval.distances import frechet_distance
from moda.eval.moments import Moments
from moda.eval.networks import EfficientNetLite0, MiniXception, PhysNet
from moda.weights.locate import locate

FILES = {EfficientNetLite0: "efficientnet_lite0", PhysNet: "physnet", MiniXception: "mini_xception"}


def packaged(kind):
    located = locate(FILES[kind])
    if located is None:
        pytest.skip(f"{FILES[kind]} is not installed")
    return kind.from_pretrained(located.path)


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.title)
def test_another_file_is_refused_in_one_line(kind, tmp_path: Path):
    other = tmp_path / kind.file
    other.write_bytes(b"no weights")
    with pytest.raises(UserError) as refusal:
        kind.from_pretrained(other)
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="does not exist"):
        kind.from_pretrained(tmp_path / "absent" / kind.file)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (EfficientNetLite0, torch.zeros(1, 3, 64, 64)),
        (EfficientNetLite0, torch.zeros(1, 1, 64, 64, dtype=torch.uint8)),
        (PhysNet, torch.zeros(1, 3, 16, 64, 64)),
        (PhysNet, torch.zeros(1, 3, 2, 32, 32)),
        (MiniXception, torch.zeros(1, 1, 64, 64)),
    ],
)
def test_inputs_of_another_shape_or_kind_are_refused(kind, wrong):
    with pytest.raises(UserError):
        by_rule(kind)(wrong)


PING_PONG_BALL = 722


def ball(colour: tuple[int, int, int]) -> torch.Tensor:
    """A shaded disc on white: (1, 3, 224, 224) uint8."""
    y, x = np.mgrid[:224, :224]
    inside = (x - 112) ** 2 + (y - 112) ** 2 < 80**2
    shade = 1 - 0.4 * (((x - 90) ** 2 + (y - 85) ** 2) / 160**2)[..., None].clip(0, 1)
    pixels = np.where(inside[..., None], colour, (235, 235, 235)) * shade
    return torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1)[None]


def test_efficientnet_knows_a_ball_and_sees_its_colour():
    network = packaged(EfficientNetLite0)
    orange, blue = network(ball((245, 140, 20))), network(ball((20, 60, 160)))
    assert orange["features"].shape == (1, 1280)
    assert orange["logits"].softmax(1)[0, PING_PONG_BALL] > 0.5
    assert not torch.allclose(orange["features"], blue["features"], atol=0.1)


def face_like(frames: int, seed: int, frozen: bool = False) -> torch.Tensor:
    """(1, 3, T, 32, 32): a blob that wanders smoothly over a fixed texture."""
    rng = np.random.default_rng(seed)
    texture = rng.random((3, 1, 32, 32)) * 60
    t = np.zeros(frames) if frozen else np.arange(frames) / 6
    phase = rng.random(2) * 6
    y, x = np.mgrid[:32, :32]
    cy, cx = 16 + 6 * np.sin(t + phase[0]), 16 + 6 * np.cos(t + phase[1])
    blob = np.exp(-((y[None] - cy[:, None, None]) ** 2 + (x[None] - cx[:, None, None]) ** 2) / 60)
    return torch.from_numpy((texture + 150 * blob[None]).astype(np.float32))[None]


def test_physnet_distances_rise_with_freezing_and_noise():
    network = packaged(PhysNet)

    def features(seeds, change=lambda video, seed: video, **settings) -> np.ndarray:
        videos = torch.cat([change(face_like(16, seed, **settings), seed) for seed in seeds])
        with torch.no_grad():
            return network(videos)["features"].double().numpy()

    def noisy(video: torch.Tensor, seed: int) -> torch.Tensor:
        return video + 40 * torch.randn(video.shape, generator=torch.Generator().manual_seed(seed))

    truth = features(range(40))
    basis = np.linalg.svd(truth - truth.mean(0), full_matrices=False)[2][:8].T

    def distance(other: np.ndarray) -> float:
        return frechet_distance(Moments.of(truth @ basis), Moments.of(other @ basis))

    same = distance(features(range(40, 80)))
    assert distance(truth) == pytest.approx(0, abs=1e-6)
    assert distance(features(range(40, 80), frozen=True)) > 1.5 * same
    assert distance(features(range(40, 80), noisy)) > 1.5 * same


def test_mini_xception_gives_probabilities_that_depend_on_the_face():
    network = packaged(MiniXception)
    faces = torch.randint(0, 255, (3, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = network(faces)["probabilities"]
    assert torch.allclose(found.sum(1), torch.ones(3), atol=1e-5)
    flat = network(torch.full((1, 1, 64, 64), 90, dtype=torch.uint8))["probabilities"]
    assert not torch.allclose(found[:1], flat, atol=0.02)
