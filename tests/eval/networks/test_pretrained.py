"""Official files in: every layout that is met, and one line for a file that is another."""

import pickle
import zipfile
from typing import ClassVar

import pytest
import torch
from golden_rule import by_rule, state_of
from safetensors.torch import save_file
from torch import nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork
from moda.eval.networks.script import read_script

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:Detected pickle protocol")


class Small(PretrainedNetwork):
    """As the real ones: convolution, batch norm with a counter, linear."""

    title, file = "the small network", "small.pth"

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


class Other(nn.Module):
    """Shares Small's convolution and holds it twice, with a strided view of it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = self.first
        self.register_buffer("view", torch.arange(12.0).view(3, 4).T[1:])

    def forward(self, x):
        return self.first(x) + self.second(x)


@pytest.fixture
def state():
    return state_of(Small())


def assert_loads(path):
    network, expected = Small.from_pretrained(path), by_rule(Small)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), expected(x))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_layouts_of_files(tmp_path, state):
    without_counter = {key: value for key, value in state.items() if "num_batches" not in key}
    contents = {
        "plain.pth": state,
        "prefixed.model": {f"module.{key}": value for key, value in state.items()},
        "nested.pth": {"state_dict": {f"net.{key}": value for key, value in state.items()}, "epoch": 3},
        "old.model": without_counter,
        "more.pth": state | {"AuxLogits.weight": torch.zeros(3)},
        "half.pth": {key: value.double() if value.is_floating_point() else value for key, value in state.items()},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
        assert_loads(tmp_path / name)
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    assert_loads(tmp_path / "legacy.pth")
    save_file(state, tmp_path / "small.safetensors")
    assert_loads(tmp_path / "small.safetensors")


@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_torchscript_file_gives_its_weights(tmp_path, how):
    network = by_rule(Small)
    made = torch.jit.script(network) if how == "script" else torch.jit.trace(network, torch.zeros(1, 3, 8, 8))
    torch.jit.save(made, tmp_path / "small.pt")
    assert_loads(tmp_path / "small.pt")


def test_shared_and_strided_tensors_of_a_torchscript_file(tmp_path):
    module = Other()
    torch.jit.save(torch.jit.script(module), tmp_path / "other.pt")
    found = read_script(tmp_path / "other.pt")
    assert torch.equal(found["view"], module.view)
    assert torch.equal(found["first.weight"], module.first.weight) and "second.bias" in found


class Exploit:
    calls: ClassVar[list[str]] = []

    def __reduce__(self):
        return Exploit.calls.append, ("run",)


def wrong_files(tmp_path, state):
    """(file, words of its error)"""
    torch.save({key: value for key, value in state.items() if "head" not in key}, tmp_path / "absent.pth")
    yield "absent.pth", r"is not the small network: head.weight is absent; head.bias is absent \(2 in all\); give small"
    torch.save(state | {"head.weight": torch.zeros(2, 5)}, tmp_path / "shape.pth")
    yield "shape.pth", r"head.weight is \(2, 5\), not \(2, 4\)"
    torch.save([1, 2], tmp_path / "list.pth")
    yield "list.pth", "holds list, not a dictionary"
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    yield "text.pth", "cannot be read as weights; download it again"
    (tmp_path / "empty.safetensors").write_bytes(b"")
    yield "empty.safetensors", "cannot be read as weights"
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"x": Exploit()}))
    yield "pickle.pth", "cannot be read as weights"
    yield "none.pth", "does not exist; the official file of the small network is small.pth"


def test_a_wrong_file_is_one_line(tmp_path, state):
    for name, words in wrong_files(tmp_path, state):
        with pytest.raises(UserError, match=words) as error:
            Small.from_pretrained(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not Exploit.calls


def test_a_torchscript_file_cannot_name_other_code(tmp_path):
    """An archive whose pickle calls a function of ours is refused before the call."""
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("evil/constants.pkl", pickle.dumps(()))
        archive.writestr("evil/data.pkl", pickle.dumps(Exploit()))
    with pytest.raises(UserError, match="holds more than tensors"):
        Small.from_pretrained(tmp_path / "evil.pt")
    assert not Exploit.calls
