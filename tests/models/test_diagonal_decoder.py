import pytest
import torch

from moda.errors import UserError
from moda.models.diagonal_decoder import DiagonalDecoder


def make_decoder(**changes) -> DiagonalDecoder:
    torch.manual_seed(0)
    network = DiagonalDecoder(6, 2, 5, 4, **({"width": 16, "heads": 2, "depth": 2} | changes)).eval()
    with torch.no_grad():
        network.final_linear.weight.normal_(0, 0.3)  # it starts at zero
    return network


def make_inputs(tokens: int = 4, frames: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "noisy_motion": torch.randn(3, tokens, 6, generator=generator),
        "timestep": torch.tensor([1000.0, 400.0, 30.0]),
        "audio": torch.randn(3, frames, 2, 5, generator=generator),
        "identity": torch.randn(3, 4, generator=generator),
        "emotion": torch.tensor([0, 3, 8]),
        "previous_motion": torch.randn(3, 1, 6, generator=generator),
    }


def test_its_velocity_points_from_the_data_that_it_predicts():
    network, inputs = make_decoder(), make_inputs()
    with torch.no_grad():
        network.final_linear.weight.zero_()
        network.final_linear.bias.fill_(0.7)
    sigma = (inputs["timestep"] / 1000)[:, None, None]
    velocity = network(**inputs)
    torch.testing.assert_close(inputs["noisy_motion"] - sigma * velocity, torch.full_like(velocity, 0.7))
    still = network(**{**inputs, "timestep": torch.zeros(3)})  # sigma 0, where Heun's last step asks
    assert still.isfinite().all()


@pytest.mark.parametrize(
    ("tokens", "reach", "heard"), [(8, 0, [3]), (8, 1, [2, 3, 4]), (4, 0, [6, 7]), (4, 1, [5, 6, 7])]
)
def test_a_token_hears_its_own_frames_alone(tokens, reach, heard):
    """With one block: the next one lets motion tokens tell each other."""
    network, inputs = make_decoder(depth=1, reach=reach), make_inputs(tokens)
    audio = inputs["audio"].requires_grad_()
    (gradient,) = torch.autograd.grad(network(**inputs)[0, 3].sum(), audio)
    assert gradient[0].flatten(1).abs().sum(1).nonzero()[:, 0].tolist() == heard


def test_every_parameter_takes_part():
    network = make_decoder()
    network(**make_inputs()).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_dropped_conditions_and_those_it_goes_without_are_nulls():
    inputs, drop = make_inputs(), torch.tensor([True, False, False])
    names = {"audio": "audio", "emotion": "emotion", "identity": "identity"}
    network = make_decoder()
    for name, key in names.items():
        whole, other = network(**inputs), network(**{**inputs, key: inputs[key].roll(1, 0)})
        assert not torch.allclose(whole[0], other[0])
        dropped = network(**{**inputs, key: inputs[key].roll(1, 0), f"drop_{name}": drop})
        torch.testing.assert_close(dropped[0], network(**inputs, **{f"drop_{name}": drop})[0])
        never = make_decoder(without=[name])
        torch.testing.assert_close(never(**inputs), never(**{**inputs, key: inputs[key].roll(1, 0)}))


def test_intensity_leads_from_neutral_to_the_emotion():
    network, inputs = make_decoder(), make_inputs()
    weak = network(**inputs, intensity=torch.zeros(3))
    neutral = network(**{**inputs, "emotion": torch.tensor([5, 5, 8])})
    torch.testing.assert_close(weak, neutral)
    torch.testing.assert_close(network(**inputs, intensity=torch.ones(3)), network(**inputs))


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="depth >= 1"):
        make_decoder(depth=0)
    with pytest.raises(UserError, match="heads and mlp_ratio above 0"):
        make_decoder(heads=0)
    with pytest.raises(UserError, match="multiple of heads 3"):
        make_decoder(heads=3)
    with pytest.raises(UserError, match="7 frames of audio do not divide into 4"):
        make_decoder()(**make_inputs(frames=7))
