"""Our MM-DiT computes the published network; the numbers were made by the original on the same weights."""

import zlib

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from moda.errors import UserError
from moda.interop.moda import MODA_B, drawn_null_audio, load_official, save_official, to_official
from moda.models.mmdit import MMDiT

SMALL = MODA_B | {
    "width": 48,
    "heads": 3,
    "audio_layers": 2,
    "audio_dim": 8,
    "stages": [stage | {"depth": depth} for stage, depth in zip(MODA_B["stages"], (1, 2, 2), strict=True)],
}


SALT, OTHER_SALT = "moda-lightning", "another salt"


def draw(name: str, shape: tuple[int, ...], salt: str = SALT) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{salt}:{name}".encode())))
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def by_rule(preset: dict, salt: str = SALT) -> MMDiT:
    """A network whose every weight follows from its official name."""
    with torch.device("meta"):
        network = MMDiT(**preset)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        network.null_audio.token.zero_()
        network.null_identity.token.zero_()
        for name, tensor in to_official(network).items():
            x = draw(name, tuple(tensor.shape), salt)
            if x.dim() > 1:
                x /= x[0].numel() ** 0.5
            else:
                x = 1 + 0.1 * x if name.endswith(".weight") else 0.1 * x
            tensor.copy_(x)
    return network.eval()


def velocity(
    network: MMDiT, preset: dict, timesteps: tuple[float, float], emotions: tuple[int, int], salt: str = SALT
) -> torch.Tensor:
    """Of the reference inputs' second sample, at two timesteps."""
    motion = draw("input:motion", (2, 80, 140), salt)[1:].expand(2, -1, -1)
    audio = draw("input:audio", (2, 80, 1, preset["audio_layers"], preset["audio_dim"]), salt)[1:, :, 0]
    with torch.inference_mode():
        return network(
            noisy_motion=motion[..., 70:],
            previous_motion=motion[..., :70],
            audio=audio.expand(2, -1, -1, -1),
            emotion=torch.tensor(emotions),
            identity=draw("input:ref_kp", (2, 1, 63), salt)[1:, 0].expand(2, -1),
            timestep=torch.tensor(timesteps),
        )


# every 10th frame, every 14th channel
AT_900 = [
    1.172026, 1.053605, 2.207306, 2.11085, -1.320055, 1.446118, 2.147621, 1.344785, 0.798503, 0.769301,
    0.448869, 0.393678, 1.155288, 1.177593, 1.970126, 0.843341, -0.070328, 1.26505, 0.180947, 0.396586,
    0.815321, 0.636795, 1.404684, 1.385819, 0.30244, 2.127453, 2.325481, 1.581157, 0.403993, -0.107991,
    1.446939, -0.718219, 0.980797, 0.444413, -1.319488, 1.454948, 1.66695, 0.962707, 1.518306, 0.365357,
]  # fmt: skip
AT_37 = [
    0.320833, 0.968307, 0.398825, 1.113432, -1.492841, 1.310951, 1.707202, 1.203984, -0.960724, 0.226217,
    0.812561, 0.756899, -1.66481, -0.130252, 1.157226, -0.332207, 0.029225, -0.753949, 0.068328, -0.640485,
    -0.15899, 0.529046, 0.688328, -0.379263, -0.214845, -0.590445, 1.775074, -0.856247, -0.984665, -1.013309,
    0.75988, -0.34389, 0.235807, -0.252094, -0.509443, 0.548778, 1.667611, -0.123515, 0.822313, 0.32898,
]  # fmt: skip

# every 20th frame, every 35th channel, both timesteps
NARROW = [
    0.461662, 1.058106, 0.68753, 0.607996, 1.683392, 0.823143, 1.015664, 0.739691,
    -1.807759, 2.206875, -0.028979, 0.402218, 2.508596, 2.035888, 0.384506, 1.81106,
]  # fmt: skip


# of OTHER_SALT, every 20th frame, every 35th channel, both timesteps: this implementation's own, made when it agreed
# with the original on SALT
OTHER = [
    -0.606179, -2.226847, -0.490493, -1.619168, -0.819841, -1.26275, 0.263098, 0.045533,
    0.060905, -1.60845, -0.113993, -1.306047, 0.436554, -1.653121, 0.493749, -1.142675,
]  # fmt: skip


@pytest.mark.slow
def test_the_published_network_is_reproduced():
    out = velocity(by_rule(MODA_B), MODA_B, (900.0, 37.0), (8, 6))
    torch.testing.assert_close(out[0, ::10, ::14].flatten(), torch.tensor(AT_900), rtol=0, atol=1e-4)
    torch.testing.assert_close(out[1, ::10, ::14].flatten(), torch.tensor(AT_37), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.mean((1, 2)), torch.tensor([0.1129407, 0.034081]), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.flatten(1).std(1), torch.tensor([1.0748333, 1.0979971]), rtol=1e-4, atol=0)


@pytest.mark.slow
def test_other_weights_give_what_they_gave_then(tmp_path):
    """The released file from end to end: loaded, called as users call it, written back."""
    path, back = tmp_path / "net-200.pth", tmp_path / "back.pth"
    original = by_rule(MODA_B, OTHER_SALT)
    torch.save(to_official(original), path)
    del original
    network = load_official(path)
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(373.0, abs=0.05)
    out = velocity(network, MODA_B, (900.0, 37.0), (8, 6), OTHER_SALT)
    torch.testing.assert_close(out[:, ::20, ::35].flatten(), torch.tensor(OTHER), rtol=0, atol=1e-4)
    save_official(network, back)
    del network
    assert_same(torch.load(back, weights_only=True, mmap=True), torch.load(path, weights_only=True, mmap=True))


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), key


def test_a_narrow_network_keeps_its_output():
    """What this implementation gave when it reproduced the published one: a quick guard of the same code."""
    out = velocity(by_rule(SMALL), SMALL, (900.0, 37.0), (8, 6))
    expected = torch.tensor(NARROW)
    torch.testing.assert_close(out[:, ::20, ::35].flatten(), expected, rtol=0, atol=2e-5)


def test_official_keys_and_sizes():
    with torch.device("meta"):
        network = MMDiT(**MODA_B)
    official = {name: tuple(tensor.shape) for name, tensor in to_official(network).items()}
    assert len(official) == 408
    assert 372e6 < sum(np.prod(shape) for shape in official.values()) < 374e6
    assert official["audio_embedder.proj1.weight"] == (768, 9216)
    assert official["emo_embedder.embedding_table.weight"] == (9, 768)
    assert official["blocks4.2.attn1.qkv_au3.weight"] == (2304, 768)
    assert official["blocks4.0.adaLN_modulation_audio2.1.bias"] == (4608,)
    assert official["blocks2.5.audio_mlp.fc1.weight"] == (3072, 768)
    assert official["blocks.11.qkv_xs.weight"] == (5376, 768)
    assert official["blocks.0.linear2.weight"] == (768, 3840)
    assert official["final_layer.adaLN_modulation.1.weight"] == (1536, 768)


def test_the_published_configuration_is_the_preset():
    with initialize_config_module("moda.conf", version_base=None):
        configured = OmegaConf.to_container(compose(overrides=["+model=mmdit_b"]).model.network)
    assert isinstance(configured, dict)
    assert configured.pop("_target_") == "moda.models.mmdit.MMDiT"
    assert {**MODA_B, **configured} == MODA_B


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "talking_head_dit."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_comes_back_as_it_went(tmp_path, suffix, prefix, dtype):
    state = {prefix + key: value.to(dtype, copy=True) for key, value in to_official(by_rule(SMALL)).items()}
    mixed = next(iter(state))
    state[mixed] = state[mixed].float()
    path, back = tmp_path / f"net{suffix}", tmp_path / f"back{suffix}"
    read = load_file if suffix == ".safetensors" else torch.load
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    network = load_official(path, SMALL)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    save_official(network, back)
    assert_same(read(back), read(path))


def test_a_network_of_ones_own_is_written_as_the_release_is(tmp_path):
    network = by_rule(SMALL)
    save_official(network, tmp_path / "net.pth")
    written = torch.load(tmp_path / "net.pth", weights_only=True)
    assert all(key.startswith("talking_head_dit.") for key in written) and len(written) == len(to_official(network))
    again = load_official(tmp_path / "net.pth", SMALL)
    assert not again.training
    assert torch.equal(velocity(again, SMALL, (500.0, 3.0), (1, 8)), velocity(network, SMALL, (500.0, 3.0), (1, 8)))
    inputs = {"audio": torch.zeros(1, 2, 2, 8), "identity": torch.zeros(1, 63), "emotion": torch.zeros(1).long()}
    again(torch.zeros(1, 2, 70), torch.zeros(1), **inputs, previous_motion=torch.zeros(1, 1, 70)).sum().backward()


def test_one_previous_frame_stands_for_all(tmp_path):
    network = by_rule(SMALL)
    inputs = {
        "noisy_motion": draw("input:noisy", (2, 10, 70)),
        "audio": draw("input:audio", (2, 10, 2, 8)),
        "identity": draw("input:ref_kp", (2, 63)),
        "emotion": torch.tensor([0, 8]),
        "timestep": torch.tensor([1000, 0]),
    }
    previous = draw("input:previous", (2, 1, 70))
    with torch.inference_mode():
        one, many = (network(**inputs, previous_motion=p) for p in (previous, previous.expand(-1, 10, -1)))
    assert one.shape == (2, 10, 70) and torch.equal(one, many)


def test_prefix_and_nesting_are_accepted_and_other_networks_if_asked(tmp_path):
    network = by_rule(SMALL)
    official = to_official(network)
    bare, nested = tmp_path / "bare.safetensors", tmp_path / "nested.pth"
    save_file({name: tensor.clone() for name, tensor in official.items()}, bare)
    prefixed = {f"talking_head_dit.{name}": tensor for name, tensor in official.items()}
    torch.save({"epoch": 200, "state_dict": prefixed}, nested)
    more = tmp_path / "more.pth"
    torch.save({"epoch": 200, "model": prefixed | {"criterion.weight": torch.zeros(3)}}, more)
    expected = velocity(network, SMALL, (10.0, 700.0), (3, 5))
    for path, strict in ((bare, True), (nested, True), (more, False)):
        loaded = load_official(path, SMALL, strict=strict)
        assert torch.equal(velocity(loaded, SMALL, (10.0, 700.0), (3, 5)), expected)


class Payload:
    def __reduce__(self):
        return print, ("code from a checkpoint was run",)


def without(state: dict, key: str) -> dict:
    return {name: tensor for name, tensor in state.items() if name != key}


LAST = "final_layer.linear.bias"
FAULTS = {
    "does not exist.*moda weights get moda_official": None,
    "cannot be read": lambda state: {"a": Payload()},
    f"{LAST} is absent": lambda state: without(state, LAST),
    rf"{LAST} is \(3,\), not \(70,\)": lambda state: state | {LAST: torch.zeros(3)},
    rf"{LAST} is \(70, 1\), not \(70,\)": lambda state: state | {LAST: torch.zeros(70, 1)},
    f"{LAST} holds torch.int8": lambda state: state | {LAST: torch.zeros(70, dtype=torch.int8)},
    f"{LAST} is absent .1 in all": lambda state: state | {LAST: "text"},
    "blocks.2.qkv_xs.weight is unknown": lambda state: state | {"blocks.2.qkv_xs.weight": torch.zeros(3)},
    f"talking_head_dit.{LAST} is absent": lambda state: {
        f"talking_head_dit.{key}": value for key, value in without(state, LAST).items()
    },
    "extra is unknown .1 in all.; strict=False": lambda state: (
        {f"talking_head_dit.{key}": value for key, value in state.items()} | {"extra": torch.zeros(3)}
    ),
    "is absent.*[.]{0}": lambda state: {7: torch.zeros(3)},
    "holds list": lambda state: [1, 2],
}


@pytest.mark.parametrize("message", FAULTS)
def test_files_that_are_not_the_network_are_refused_in_one_line(tmp_path, capsys, message):
    path = tmp_path / "net.pth"
    change = FAULTS[message]
    if change is not None:
        torch.save(change({name: tensor.clone() for name, tensor in to_official(by_rule(SMALL)).items()}), path)
    with pytest.raises(UserError, match=message) as error:
        load_official(path, SMALL)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "was run" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pth", "net.safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_named(tmp_path, kind, share):
    state = {name: tensor.clone() for name, tensor in to_official(by_rule(SMALL)).items()}
    path = tmp_path / kind
    if kind.endswith(".pth"):
        torch.save(state, path, _use_new_zipfile_serialization=kind.startswith("zip"))
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=f"{kind} cannot be read as weights") as error:
        load_official(path, SMALL)
    assert "\n" not in str(error.value)


def test_the_releases_null_audio_is_another_at_each_start():
    network = by_rule(SMALL)
    first, again, other = (drawn_null_audio(network, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (48,) and torch.equal(first, again) and not torch.allclose(first, other)
    assert not network.null_audio.token.any()  # it is the caller's to put in


def test_other_stages_have_no_official_form(tmp_path):
    network = MMDiT(**SMALL | {"stages": SMALL["stages"][2:]})
    with pytest.raises(UserError, match="published order"):
        save_official(network, tmp_path / "net.pth")
    with pytest.raises(UserError, match="ends in"):
        save_official(by_rule(SMALL), tmp_path / "net.bin")
    with pytest.raises(UserError, match="mix_audio_layers"):
        save_official(MMDiT(**SMALL | {"mix_audio_layers": True}), tmp_path / "net.pth")
