import math
from typing import Any

import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.models.blocks import GroupLayer
from moda.models.embeddings import AudioEmbedder, timestep_sinusoid
from moda.models.mmdit import MMDiT
from moda.models.rotary import rope_rotation, rotate

PUBLISHED = [
    {"depth": 1, "groups": [["motion"], ["audio"], ["emotion"], ["identity"]]},
    {"depth": 1, "groups": [["motion"], ["audio", "emotion", "identity"]]},
    {"depth": 2, "groups": [["motion", "audio", "emotion", "identity"]]},
]
STAGES = {
    "published": PUBLISHED,
    "four-stream only": PUBLISHED[:1],
    "single-stream only": PUBLISHED[2:],
    "another grouping": [{"depth": 2, "groups": [["motion", "emotion", "identity"], ["audio"]]}],
    "reversed": PUBLISHED[::-1],
}


def make_network(stages=PUBLISHED, **changes) -> MMDiT:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "motion_dim": 6,
        "audio_layers": 2,
        "audio_dim": 5,
        "identity_dim": 4,
        "width": 32,
        "heads": 4,
    }
    return MMDiT(stages=stages, **(settings | changes)).eval()


def awake(network: MMDiT) -> MMDiT:
    """Move every parameter, so that nothing is hidden behind the zero initialisation."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def make_inputs(batch: int = 3, tokens: int = 4, frames: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "noisy_motion": torch.randn(batch, tokens, 6, generator=generator),
        "timestep": torch.rand(batch, generator=generator) * 1000,
        "audio": torch.randn(batch, frames, 2, 5, generator=generator),
        "identity": torch.randn(batch, 4, generator=generator),
        "emotion": torch.arange(batch) % 8,
        "previous_motion": torch.randn(batch, 1, 6, generator=generator),
    }


def gradient(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("repeat", [False, True])
def test_every_parameter_takes_part_whatever_the_stages(stages, repeat):
    network = awake(make_network(stages, repeat_conditions=repeat))
    out = network(**make_inputs())
    assert out.shape == (3, 4, 6)
    out.square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_it_starts_at_zero_velocity_and_can_leave_it():
    network = make_network()
    out = network(**make_inputs())
    assert not out.any()
    (out - 1).square().sum().backward()
    assert gradient(network.final_linear.weight).any()


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_every_condition_changes_the_velocity(stages):
    network, inputs = awake(make_network(stages)), make_inputs()
    before = network(**inputs)
    for name in ("timestep", "audio", "identity", "previous_motion"):
        assert not torch.allclose(network(**inputs | {name: inputs[name] * 0.5 + 0.1}), before, atol=1e-4), name
    assert not torch.allclose(network(**inputs | {"emotion": inputs["emotion"] + 1}), before, atol=1e-4)


@pytest.mark.parametrize("name", ["audio", "identity"])
def test_a_dropped_condition_has_no_influence_on_that_sample_only(name):
    network, inputs = awake(make_network()), make_inputs()
    drop = {f"drop_{name}": torch.tensor([False, True, False])}
    kept, dropped = network(**inputs), network(**inputs, **drop)
    other = network(**inputs | {name: inputs[name] + 1}, **drop)
    torch.testing.assert_close(dropped[[0, 2]], kept[[0, 2]])
    assert not torch.allclose(dropped[1], kept[1], atol=1e-4)
    torch.testing.assert_close(other[1], dropped[1])
    assert not torch.allclose(other[0], dropped[0], atol=1e-4)


def test_dropping_the_emotion_is_the_null_class():
    network, inputs = awake(make_network()), make_inputs()
    dropped = network(**inputs, drop_emotion=torch.tensor([True, True, False]))
    null = network(**inputs | {"emotion": torch.tensor([8, 8, 2])})
    torch.testing.assert_close(dropped, null)


def test_nulls_are_learned_and_saved():
    network = awake(make_network())
    assert {"null_audio.token", "null_identity.token"} <= set(network.state_dict())
    assert network.emotion_embedder.num_embeddings == 9
    drop = torch.ones(3, dtype=torch.bool)
    network(**make_inputs(), drop_audio=drop, drop_identity=drop, drop_emotion=drop).square().sum().backward()
    assert gradient(network.null_audio.token).any() and gradient(network.null_identity.token).any()
    table = gradient(network.emotion_embedder.weight)
    assert table[8].any() and not table[:8].any()


def test_samples_do_not_see_each_other():
    network, inputs = awake(make_network()), make_inputs()
    whole = network(**inputs)
    alone = network(**{name: value[1:2] for name, value in inputs.items()})
    torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-5)


def test_one_previous_token_is_the_same_as_its_copies():
    network, inputs = awake(make_network()), make_inputs()
    copies = inputs["previous_motion"].expand(-1, 4, -1)
    torch.testing.assert_close(network(**inputs), network(**inputs | {"previous_motion": copies}))


def test_timestep_sinusoid_is_exact_in_float32():
    timestep = torch.tensor([0.0, 1.0, 999.0])
    out = timestep_sinusoid(timestep)
    assert out.dtype == torch.float32 and out.shape == (3, 256)
    assert timestep_sinusoid(timestep.bfloat16()).dtype == torch.float32
    for k in (0, 1, 64, 127):
        angle = 999.0 * 10_000 ** (-k / 128)
        assert out[2, k].item() == pytest.approx(math.cos(angle), abs=2e-4)
        assert out[2, 128 + k].item() == pytest.approx(math.sin(angle), abs=2e-4)


def test_it_runs_in_bfloat16():
    network, inputs = awake(make_network()), make_inputs()
    exact = network(**inputs)
    half = {k: v if k in ("timestep", "emotion") else v.bfloat16() for k, v in inputs.items()}
    out = network.bfloat16()(**half)
    assert out.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(out.float().flatten(), exact.flatten(), 0) > 0.99


def test_under_autocast_residual_streams_stay_float32_and_attention_is_bfloat16(monkeypatch):
    network, inputs = awake(make_network()), make_inputs()
    exact, streams, attended = network(**inputs), [], []
    for block in network.blocks:
        block.register_forward_hook(lambda _, arguments, out: streams.extend([*arguments[0], *out]))
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(q, k, v):
        attended.extend([q.dtype, k.dtype, v.dtype])
        return attend(q, k, v)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(**inputs)
    assert streams and {tokens.dtype for tokens in streams} == {torch.float32}
    assert attended and set(attended) == {torch.bfloat16}
    assert torch.nn.functional.cosine_similarity(out.float().flatten(), exact.flatten(), 0) > 0.99


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least one stage"),
        ([{"depth": 0, "groups": [["motion", "audio", "emotion", "identity"]]}], "depth"),
        ([{"depth": 1, "groups": [["motion"], ["audio", "emotion"]]}], "each of"),
        ([{"depth": 1, "groups": [["motion"], ["audio", "gaze", "emotion", "identity"]]}], "each of"),
        ([{"depth": 1, "groups": [["audio"], ["motion", "emotion", "identity"]]}], "begin with motion"),
        ([{"depth": 1}], "groups"),
    ],
)
def test_stages_that_make_no_network_are_refused(stages, message):
    with pytest.raises(UserError, match=message):
        make_network(stages)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="heads"):
        make_network(width=30)
    for sizes in ({"heads": 0}, {"mlp_ratio": 0}):
        with pytest.raises(UserError, match="needs width, heads and mlp_ratio above 0"):
            make_network(**sizes)
    with pytest.raises(UserError, match=r"model.network.without=emotion: must be a list"):
        make_network(without="emotion")
    with pytest.raises(UserError, match="do not divide"):
        make_network()(**make_inputs(tokens=3))


def attention_within(frames: int, *, local: bool) -> torch.Tensor:
    """(heads,) share of a fresh layer's attention that lies within ``frames`` frames."""
    torch.manual_seed(0)
    width, heads = 128, 4
    layer = GroupLayer(width, heads, 64)
    nn.init.xavier_uniform_(layer.qkv.weight)
    nn.init.zeros_(layer.qkv.bias)
    if local:
        layer.norm.look_nearby(layer.qkv, heads)
    rotation = rope_rotation(torch.arange(80.0), width // heads, 256.0)
    queries_keys, _ = layer.norm(layer.qkv(torch.randn(1, 80, width)), heads)
    q, k = rotate(queries_keys, rotation).transpose(2, 3)
    weights = torch.softmax(q @ k.mT / (width // heads) ** 0.5, -1)[0]  # (heads, 80, 80)
    near = (torch.arange(80)[:, None] - torch.arange(80)).abs() <= frames
    return (weights * near).sum((1, 2)) / 80


def test_local_init_points_half_of_the_heads_at_the_same_moment() -> None:
    near = attention_within(3, local=True)
    assert (near[:2] > 0.6).all()
    assert (near[2:] < 0.25).all()
    assert (attention_within(3, local=False) < 0.25).all()


def scores_of(embedder: AudioEmbedder) -> torch.nn.Parameter:
    assert embedder.layer_scores is not None
    return embedder.layer_scores


def test_a_learned_mix_of_speech_layers_is_a_weighted_mean():
    torch.manual_seed(0)
    embedder = AudioEmbedder(3, 4, 8, mix=True)
    audio = torch.randn(2, 5, 3, 4)
    assert embedder.mlp[0].in_features == 4
    torch.testing.assert_close(embedder(audio), embedder(audio.mean(2, keepdim=True).expand(-1, -1, 3, -1)))
    with torch.no_grad():
        scores_of(embedder).copy_(torch.tensor([-100.0, 100.0, -100.0]))
    torch.testing.assert_close(embedder(audio), embedder(audio[:, :, 1:2].expand(-1, -1, 3, -1)))


def test_the_mix_of_speech_layers_is_learned():
    """Only the second layer tells of the motion: its weight grows."""
    torch.manual_seed(0)
    embedder, head = AudioEmbedder(3, 4, 16, mix=True), torch.nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*embedder.parameters(), *head.parameters()], lr=2e-2)
    for _ in range(150):
        audio = torch.randn(16, 4, 3, 4)
        loss = (head(embedder(audio)) - audio[:, :, 1, :1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = scores_of(embedder).softmax(0)
    assert weights.argmax() == 1 and weights[1] > 0.5


def test_mixed_layers_need_fewer_weights_and_take_the_same_call():
    plain, mixed = (awake(make_network(mix_audio_layers=mix)) for mix in (False, True))
    count = [sum(p.numel() for p in network.parameters()) for network in (plain, mixed)]
    assert count[0] - count[1] == 5 * 32 - 2  # a layer of 5 inputs less, two weights of layers more
    mixed(**make_inputs()).square().sum().backward()
    assert gradient(scores_of(mixed.audio_embedder)).any()


def test_what_a_network_goes_without_changes_nothing():
    inputs = make_inputs()
    other = {name: value.flip(0) for name, value in inputs.items()}
    names = {"audio": "audio", "emotion": "emotion", "identity": "identity", "previous": "previous_motion"}
    for name, key in names.items():
        network = awake(make_network(without=[name]))
        torch.testing.assert_close(network(**inputs), network(**{**inputs, key: other[key]}), rtol=0, atol=0)
        whole = awake(make_network())
        assert not torch.allclose(whole(**inputs), whole(**{**inputs, key: other[key]}))
        assert [p.shape for p in whole.parameters()] == [p.shape for p in network.parameters()]
    with pytest.raises(UserError, match="without=.*must name some of audio, emotion, identity, previous"):
        make_network(without=["pose"])
