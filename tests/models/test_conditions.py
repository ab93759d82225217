"""What the transformer may be told beside speech: intensity, signals, the motion before, sound once more."""

import pytest
import torch
from test_mmdit import PUBLISHED, awake, gradient, make_inputs, make_network

from moda.errors import UserError
from moda.models.mmdit import MMDiT

CONTROLS = {"pose": 3, "distance": 1}


def inputs_with(network: MMDiT, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = make_inputs(frames=8)
    if network.context:
        inputs["previous_motion"] = torch.randn(3, network.context, 6, generator=generator)
    if network.controls:
        inputs["controls"] = torch.randn(3, 8, 4, generator=generator)
    return inputs | changes


def test_intensity_goes_from_neutral_to_the_class():
    network, inputs = awake(make_network()), make_inputs()
    plain = network(**inputs)
    neutral = network(**inputs | {"emotion": torch.full((3,), 5)})
    torch.testing.assert_close(network(**inputs, intensity=torch.ones(3)), plain, rtol=0, atol=0)
    torch.testing.assert_close(network(**inputs, intensity=torch.zeros(3)), neutral)
    half = network(**inputs, intensity=torch.full((3,), 0.5))
    assert not torch.allclose(half, plain, atol=1e-4) and not torch.allclose(half, neutral, atol=1e-4)


def test_without_an_emotion_intensity_says_nothing():
    network, inputs = awake(make_network()), make_inputs()
    drop = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(
        network(**inputs, drop_emotion=drop, intensity=torch.rand(3)), network(**inputs, drop_emotion=drop)
    )


def test_context_tokens_condition_and_are_not_predicted():
    network = awake(make_network(context=3))
    inputs = inputs_with(network)
    out = network(**inputs)
    assert out.shape == (3, 4, 6)
    for index in range(3):  # each of them has a say
        other = inputs["previous_motion"].clone()
        other[:, index] += 1
        assert not torch.allclose(network(**inputs | {"previous_motion": other}), out, atol=1e-4), index


@pytest.mark.parametrize("stages", [PUBLISHED, PUBLISHED[::-1]])
def test_a_control_reaches_every_token_unless_it_is_dropped(stages):
    network = awake(make_network(stages, controls=CONTROLS, frames_per_token=2))
    inputs = inputs_with(network)
    pose_only = torch.tensor([[False, True]] * 3)
    out, changed = (
        network(**inputs | {"controls": inputs["controls"] + shift}, drop_controls=pose_only)
        for shift in (torch.tensor([0.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 7.0]))
    )
    torch.testing.assert_close(changed, out)  # distance is not given
    moved = network(**inputs | {"controls": inputs["controls"] + torch.tensor([1.0, 0, 0, 0])}, drop_controls=pose_only)
    assert (moved - out).abs().amax((0, 2)).min() > 1e-4
    every = torch.ones(3, 2, dtype=torch.bool)
    torch.testing.assert_close(network(**inputs, drop_controls=every), network(**inputs | {"controls": None}))


def test_every_frame_of_a_token_is_heard_and_obeyed():
    network = awake(make_network(controls=CONTROLS, frames_per_token=2, late_audio=1))
    inputs = inputs_with(network)
    swapped = inputs["controls"].unflatten(1, (4, 2)).flip(2).flatten(1, 2)  # the same means of each token
    assert not torch.allclose(network(**inputs), network(**inputs | {"controls": swapped}), atol=1e-4)


def test_late_audio_starts_silent_and_can_speak():
    torch.manual_seed(0)
    network = make_network(late_audio=2, frames_per_token=2)
    injections = [parameter for name, parameter in network.late_audio.named_parameters() if name.endswith("weight")]
    assert len(injections) == 2 and not any(weight.any() for weight in injections)
    with torch.no_grad():
        network.final_linear.weight.normal_()
        before = network(**make_inputs())
        for weight in injections:
            weight.normal_()
        assert not torch.allclose(network(**make_inputs()), before, atol=1e-3)


def test_late_audio_is_of_the_token_s_own_frames():
    """With weights that cut attention off, a token hears its own sound and no other."""
    network = awake(make_network(PUBLISHED[2:], late_audio=1, frames_per_token=2))
    with torch.no_grad():
        for name, parameter in network.blocks.named_parameters():
            if "modulation.linear" in name:
                parameter.zero_()  # gates shut: nothing but the injection is left
    inputs = make_inputs()
    other = inputs["audio"].clone()
    other[:, 4:6] += 1  # the frames of token 2
    change = (network(**inputs | {"audio": other}) - network(**inputs)).abs().amax((0, 2))
    assert change[2] > 1e-4 and not change[[0, 1, 3]].any()


@pytest.mark.parametrize(
    "changes",
    [{"context": 2}, {"controls": CONTROLS, "frames_per_token": 2}, {"late_audio": 3, "frames_per_token": 2}],
)
def test_every_parameter_takes_part(changes):
    network = awake(make_network(**changes))
    network(**inputs_with(network)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_recomputed_blocks_give_the_same_gradients():
    changes = {"context": 2, "controls": CONTROLS, "late_audio": 2, "frames_per_token": 2}
    plain, again = awake(make_network(**changes)), awake(make_network(**changes))
    again.recompute = True
    for network in (plain, again):
        network(**inputs_with(network)).square().sum().backward()
    for (name, ours), theirs in zip(again.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(gradient(ours), gradient(theirs), rtol=0, atol=0, msg=name)


def test_recomputing_keeps_less():
    def kept(recompute: bool) -> int:
        """Bytes that the backward pass holds on to."""
        network, sizes = awake(make_network()), {}
        network.recompute = recompute

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = network(**make_inputs(batch=8))
        assert out.requires_grad
        return sum(sizes.values())

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": -1}, "context >= 0"),
        ({"late_audio": 9}, "the network has 4 blocks"),
        ({"neutral": 8}, "neutral among"),
    ],
)
def test_options_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make_network(**changes)


def test_tokens_of_another_length_are_refused():
    with pytest.raises(UserError, match="8 frames are not 4 motion tokens of 1"):
        make_network(late_audio=1)(**make_inputs())
