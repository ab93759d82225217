import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.training.checkpoints.ema import EMA
from moda.training.checkpoints.masters import replicated


def network(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def started(module: nn.Module, decay: float, power: tuple[float, ...] = ()) -> EMA:
    ema = EMA(decay, power)
    ema.start(replicated(module, None))
    return ema


def test_the_shadow_follows_its_closed_form() -> None:
    module = network(0.0)
    ema = started(module, decay=0.9)
    expected = 0.0
    for update in range(1, 200):
        nn.init.constant_(module.weight, float(update))
        ema.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    assert ema.shadow[0].item() == pytest.approx(expected, rel=1e-5)
    # after a ramp, an average of decay d lags d / (1 - d) behind
    assert ema.shadow[0].item() == pytest.approx(199 - 0.9 / 0.1, abs=1e-3)


def test_the_shadow_of_half_precision_weights_is_float32() -> None:
    module = network(1.0).to(torch.bfloat16)
    ema = started(module, decay=0.999)
    nn.init.constant_(module.weight, 2.0)
    for _ in range(5000):
        ema.update()
    assert ema.shadow[0].dtype == torch.float32
    assert ema.shadow[0].item() == pytest.approx(2.0, abs=0.02)  # bfloat16 would stall far from it


def test_weights_are_swapped_and_given_back() -> None:
    module = network(1.0)
    ema = started(module, decay=0.5)
    nn.init.constant_(module.weight, 3.0)
    ema.swap_in()
    assert module.weight.item() == 1.0
    with pytest.raises(RuntimeError, match="already"):
        ema.swap_in()
    ema.swap_out()
    assert module.weight.item() == 3.0
    assert ema.gather() == {"weight": torch.ones(1, 1)}


def test_the_state_survives_a_checkpoint(tmp_path) -> None:
    module = network(1.0)
    ema = started(module, decay=0.9, power=(0.1,))
    nn.init.constant_(module.weight, 5.0)
    ema.update()
    ema.update()
    ema.held(0, list)(tmp_path)
    other = started(network(100.0), decay=0.9, power=(0.1,))
    other.load(tmp_path, rank=0)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 2
    for label, shadows in ema.shadows.items():
        torch.testing.assert_close(other.shadows[label], shadows, rtol=0, atol=0)


def test_a_width_named_twice_is_refused() -> None:
    with pytest.raises(UserError, match="names a width twice"):
        EMA(power=(0.1, 0.1))
