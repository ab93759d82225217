import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.training.ema import EMA


def network(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_the_shadow_follows_its_closed_form() -> None:
    module, ema = network(0.0), EMA(decay=0.9)
    ema.start(module)
    expected = 0.0
    for update in range(1, 200):
        nn.init.constant_(module.weight, float(update))
        ema.update(module)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    assert ema.shadow["weight"].item() == pytest.approx(expected, rel=1e-5)
    # after a ramp, an average of decay d lags d / (1 - d) behind
    assert ema.shadow["weight"].item() == pytest.approx(199 - 0.9 / 0.1, abs=1e-3)


def test_the_shadow_of_half_precision_weights_is_float32() -> None:
    module, ema = network(1.0).to(torch.bfloat16), EMA(decay=0.999)
    ema.start(module)
    nn.init.constant_(module.weight, 2.0)
    for _ in range(5000):
        ema.update(module)
    assert ema.shadow["weight"].dtype == torch.float32
    assert ema.shadow["weight"].item() == pytest.approx(2.0, abs=0.02)  # bfloat16 would stall far from it


def test_weights_are_swapped_and_given_back() -> None:
    module, ema = network(1.0), EMA(decay=0.5)
    ema.start(module)
    nn.init.constant_(module.weight, 3.0)
    with ema.applied(module):
        assert module.weight.item() == 1.0
        with pytest.raises(RuntimeError, match="already"), ema.applied(module):
            pass
    assert module.weight.item() == 3.0


def test_the_state_survives_a_checkpoint() -> None:
    module, ema = network(1.0), EMA(decay=0.9)
    ema.start(module)
    nn.init.constant_(module.weight, 5.0)
    ema.update(module)
    other = EMA(decay=0.9)
    other.load_state_dict(ema.state_dict())
    other.start(network(100.0))
    assert other.updates == 1
    torch.testing.assert_close(other.shadow["weight"], ema.shadow["weight"])


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="ema.decay=1"):
        EMA(decay=1)
