"""Our MM-DiT computes the published network; the numbers were made by the original on the same weights."""

import zlib

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from safetensors.torch import save_file

from moda.errors import UserError
from moda.interop.moda import MODA_B, load_official, save_official, to_official
from moda.models.mmdit import MMDiT

SMALL = MODA_B | {
    "width": 48,
    "heads": 3,
    "audio_layers": 2,
    "audio_dim": 8,
    "stages": [stage | {"depth": depth} for stage, depth in zip(MODA_B["stages"], (1, 2, 2), strict=True)],
}


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"moda-lightning:{name}".encode())))
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def by_rule(preset: dict) -> MMDiT:
    """A network whose every weight follows from its official name."""
    with torch.device("meta"):
        network = MMDiT(**preset)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        network.null_audio.token.zero_()
        network.null_identity.token.zero_()
        for name, tensor in to_official(network).items():
            x = draw(name, tuple(tensor.shape))
            if x.dim() > 1:
                x /= x[0].numel() ** 0.5
            else:
                x = 1 + 0.1 * x if name.endswith(".weight") else 0.1 * x
            tensor.copy_(x)
    return network


def velocity(network: MMDiT, preset: dict, timesteps: tuple[float, float], emotions: tuple[int, int]) -> torch.Tensor:
    """Of the reference inputs' second sample, at two timesteps."""
    motion = draw("input:motion", (2, 80, 140))[1:].expand(2, -1, -1)
    audio = draw("input:audio", (2, 80, 1, preset["audio_layers"], preset["audio_dim"]))[1:, :, 0]
    with torch.inference_mode():
        return network(
            motion[..., 70:],
            torch.tensor(timesteps),
            audio=audio.expand(2, -1, -1, -1),
            identity=draw("input:ref_kp", (2, 1, 63))[1:, 0].expand(2, -1),
            emotion=torch.tensor(emotions),
            previous_motion=motion[..., :70],
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


@pytest.mark.slow
def test_the_published_network_is_reproduced():
    out = velocity(by_rule(MODA_B), MODA_B, (900.0, 37.0), (8, 6))
    torch.testing.assert_close(out[0, ::10, ::14].flatten(), torch.tensor(AT_900), rtol=0, atol=1e-4)
    torch.testing.assert_close(out[1, ::10, ::14].flatten(), torch.tensor(AT_37), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.mean((1, 2)), torch.tensor([0.1129407, 0.034081]), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.flatten(1).std(1), torch.tensor([1.0748333, 1.0979971]), rtol=1e-4, atol=0)


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
def test_a_checkpoint_comes_back_as_it_went(tmp_path, suffix):
    network = by_rule(SMALL)
    path = tmp_path / f"net{suffix}"
    save_official(network, path)
    again = load_official(path, SMALL)
    torch.testing.assert_close(
        velocity(again, SMALL, (500.0, 3.0), (1, 8)), velocity(network, SMALL, (500.0, 3.0), (1, 8))
    )
    again(  # trainable after loading
        torch.zeros(1, 2, 70),
        torch.zeros(1),
        audio=torch.zeros(1, 2, 2, 8),
        identity=torch.zeros(1, 63),
        emotion=torch.zeros(1, dtype=torch.long),
        previous_motion=torch.zeros(1, 1, 70),
    ).sum().backward()


def test_prefix_nesting_and_foreign_keys_are_accepted(tmp_path):
    network = by_rule(SMALL)
    official = to_official(network)
    bare, nested = tmp_path / "bare.safetensors", tmp_path / "nested.pth"
    save_file({name: tensor.clone() for name, tensor in official.items()}, bare)
    prefixed = {f"talking_head_dit.{name}": tensor for name, tensor in official.items()}
    torch.save({"epoch": 200, "state_dict": prefixed | {"criterion.weight": torch.zeros(3)}}, nested)
    expected = velocity(network, SMALL, (10.0, 700.0), (3, 5))
    for path in (bare, nested):
        torch.testing.assert_close(velocity(load_official(path, SMALL), SMALL, (10.0, 700.0), (3, 5)), expected)


class Payload:
    def __reduce__(self):
        return print, ("code from a checkpoint was run",)


def test_files_that_are_not_the_network_are_refused_in_one_line(tmp_path, capsys):
    state = {name: tensor.clone() for name, tensor in to_official(by_rule(SMALL)).items()}
    cases = {
        "absent": lambda path: None,
        "cannot be read": lambda path: path.write_bytes(b"not weights"),
        "cannot be read.*": lambda path: path.write_bytes(b""),
        "cannot be read .*": lambda path: torch.save({"a": Payload()}, path),
        "final_layer.linear.bias is absent": lambda path: torch.save(
            {k: v for k, v in state.items() if k != "final_layer.linear.bias"}, path
        ),
        r"final_layer.linear.bias is \(3,\), not \(70,\)": lambda path: torch.save(
            state | {"final_layer.linear.bias": torch.zeros(3)}, path
        ),
        "holds list": lambda path: torch.save([1, 2], path),
    }
    for number, (message, write) in enumerate(cases.items()):
        path = tmp_path / f"case{number}.pth"
        write(path)
        with pytest.raises(UserError, match="does not exist" if message == "absent" else message) as error:
            load_official(path, SMALL)
        assert "\n" not in str(error.value)
    assert "was run" not in capsys.readouterr().out


def test_other_stages_have_no_official_form(tmp_path):
    network = MMDiT(**SMALL | {"stages": SMALL["stages"][2:]})
    with pytest.raises(UserError, match="published order"):
        save_official(network, tmp_path / "net.pth")
    with pytest.raises(UserError, match="ends in"):
        save_official(by_rule(SMALL), tmp_path / "net.bin")
