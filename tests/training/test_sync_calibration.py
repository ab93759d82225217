"""Zero is moved to where wrong sounds are; mouths and sounds stay as far apart as they were."""

import numpy as np
import pytest
import torch
from golden_rule import by_rule

from moda.errors import UserError
from moda.eval.mfcc import steps_of
from moda.eval.networks import SyncNet
from moda.eval.sync import distance_curve
from moda.training.sync_calibration import calibrate, neutral_offset

CLIP, LENGTH = 3, 60


def clips(scale: float, away: float, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Mouths and sounds that share a random path, in 16 dimensions ``away`` from zero."""
    generator = torch.Generator().manual_seed(seed)
    centre = away * torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    shared = [scale * torch.randn(LENGTH, 16, generator=generator) for _ in range(CLIP)]
    noise = [[0.5 * scale * torch.randn(LENGTH, 16, generator=generator) for _ in range(CLIP)] for _ in range(2)]
    mouths, sounds = ([path + own + centre for path, own in zip(shared, of, strict=True)] for of in noise)
    return mouths, sounds


@pytest.mark.parametrize("scale, away", [(1.0, 0.0), (1.0, 3.0), (10.0, 5.0), (0.1, 40.0)])
def test_zero_comes_as_far_from_a_mouth_as_a_wrong_sound(scale: float, away: float) -> None:
    mouths, sounds = clips(scale, away)
    offset = neutral_offset(mouths, sounds)
    zero = torch.cat([mouth + offset for mouth in mouths]).norm(dim=1).mean()
    wrong = torch.stack(
        [(mouth[:-9] - sound[9:]).norm(dim=1).mean() for mouth, sound in zip(mouths, sounds, strict=True)]
    ).mean()
    assert zero.item() == pytest.approx(wrong.item(), rel=0.03)


def test_a_short_clips_curve_stays_level_at_its_ends() -> None:
    mouths, sounds = clips(1.0, 1.0)
    offset = neutral_offset(mouths, sounds)
    for mouth, sound in zip(mouths, sounds, strict=True):
        before, after = distance_curve(mouth, sound), distance_curve(mouth + offset, sound + offset)
        middle, ends = slice(8, 15), [0, 1, 29, 30]
        assert before[ends].mean() < 0.98 * before[middle].mean()  # a quarter of them meets zero there
        assert after[ends].mean() == pytest.approx(after[middle].mean().item(), rel=0.03)
        assert after.argmin() == before.argmin() == 15 and after[15] == pytest.approx(before[15].item(), rel=1e-5)


class Store:
    """A store of one clip of noise."""

    def __init__(self, frames: int):
        self.count = frames

    def frames(self, key: str) -> int:
        return steps_of(len(self.sound(key))) // 4

    def crops(self, key: str, start: int, stop: int) -> np.ndarray:
        return np.random.default_rng(start).integers(0, 255, (stop - start, 224, 224, 3), np.uint8)

    def sound(self, key: str) -> np.ndarray:
        return np.random.default_rng(0).normal(0, 1000, self.count * 640).astype(np.int16)


def test_a_network_is_moved_in_both_its_heads_alike() -> None:
    network = by_rule(SyncNet)
    biases = [network.get_parameter(f"{head}.3.bias") for head in ("netfcaud", "netfclip")]
    before = [bias.clone() for bias in biases]
    calibrate(network, Store(14), ["clip"])  # pyright: ignore[reportArgumentType]
    sound, mouth = (bias - old for bias, old in zip(biases, before, strict=True))
    assert torch.allclose(sound, mouth, atol=1e-6) and mouth.norm() > 0.1


def test_clips_too_short_to_calibrate_on_are_said() -> None:
    with pytest.raises(UserError, match="no validation clip shows a face for more than 10 frames"):
        calibrate(by_rule(SyncNet), Store(9), ["clip"])  # pyright: ignore[reportArgumentType]
