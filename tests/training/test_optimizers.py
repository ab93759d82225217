import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.training import run
from moda.training.optimizers import adamw_cosine


def trained(fused: bool, steps: int = 20) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 13), nn.SiLU(), nn.Linear(13, 3))
    optimizer, schedule = adamw_cosine(network, total_steps=steps, lr=1e-2, warmup_steps=2, fused=fused)
    inputs = torch.randn(11, 7)
    for _ in range(steps):
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        optimizer.step()
        schedule.step()
    return network


def test_the_fused_kernel_does_the_same_arithmetic() -> None:
    for fused, plain in zip(trained(True).parameters(), trained(False).parameters(), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)


def test_the_fused_kernel_repeats_itself_to_the_bit() -> None:
    for one, other in zip(trained(True).parameters(), trained(True).parameters(), strict=True):
        assert torch.equal(one, other)


def test_float16_with_the_fused_kernel_is_refused(configure, monkeypatch) -> None:
    """It would clip gradients that are still scaled."""
    import lightning as L

    monkeypatch.setattr(L.Trainer, "precision", property(lambda self: "16-mixed"))
    with pytest.raises(UserError, match="16-mixed cannot clip gradients with optimizer.fused=true"):
        run.train(configure("motion_vae", "run"))
