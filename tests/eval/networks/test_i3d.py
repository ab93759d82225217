"""I3D against the original's numbers, its borders, and the TorchScript file."""

import pytest
import torch
from golden_rule import by_rule, matches, state_of, uniform_input
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks import I3D, ScriptedI3D
from moda.eval.networks.i3d import pad_same
from moda.eval.videos.extractors.networks import _video

LOGITS = (0.0105191863, 0.173079126, [0.1399334, 0.1412773, -0.2119541, 0.02219753, 0.03734102, 0.07935283, -0.2173549, 0.09059232, -0.03182733, 0.04300009, 0.04959208, 0.103539])  # fmt: skip
FEATURES = (0.0682248349, 0.101875366, [0.2352511, 0.2115421, 4.837405e-05, 0.0009300148, 0.2822754, 0.002312364, 0.1250428, 0.1517068, 0.03490808, 0.0, 0.0, 0.0])  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Script(nn.Module):
    """Stands for another I3D: the interface of the common file, an average in place of the network."""

    def __init__(self, classes: int = 400):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, classes))

    def forward(self, video: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        assert return_features and not rescale and not resize
        return video.mean((1, 2, 3, 4))[:, None] * self.weight


def test_agrees_with_the_original():
    outputs = by_rule(I3D)(2 * uniform_input("video", (1, 3, 16, 224, 224)) - 1)
    assert outputs["logits"].shape == (1, 400) and outputs["features"].shape == (1, 1024)
    assert matches(outputs["logits"], LOGITS)
    assert matches(outputs["features"], FEATURES)


@pytest.mark.parametrize(("size", "kernel", "stride", "before", "after"), [(224, 7, 2, 2, 3), (9, 3, 2, 1, 1), (8, 3, 2, 0, 1), (5, 2, 2, 0, 1), (7, 3, 1, 1, 1), (4, 1, 2, 0, 0)])  # fmt: skip
def test_borders_are_same_with_the_odd_pixel_behind(size, kernel, stride, before, after):
    x = torch.arange(1.0, size + 1).view(1, 1, size, 1, 1)
    padded = pad_same(x, (kernel, 1, 1), (stride, 1, 1)).flatten().tolist()
    assert padded == [0] * before + x.flatten().tolist() + [0] * after


@pytest.mark.parametrize("video", [torch.zeros(1, 3, 16, 112, 112), torch.zeros(1, 16, 3, 224, 224), torch.zeros(1, 3, 16, 224, 224, dtype=torch.uint8)])  # fmt: skip
def test_refuses_other_inputs(video):
    with torch.device("meta"):
        network = I3D()
    with pytest.raises(UserError, match="I3D takes float"):
        network(video)


def test_too_few_frames_are_named():
    with torch.device("meta"):
        network = I3D()
    with pytest.raises(UserError, match="at least 9 frames, this clip has 8"):
        network(torch.zeros(1, 3, 8, 224, 224))


def test_reads_the_weights_of_a_torchscript_file_without_its_code(tmp_path):
    with torch.device("meta"):
        network = I3D()
    state = state_of(network)
    root = nn.Module()
    for key, value in state.items():  # the same tree of names under one more level
        *modules, leaf = f"i3d.{key}".split(".")
        node = root
        for name in modules:
            if not hasattr(node, name):
                node.add_module(name, nn.Module())
            node = node.get_submodule(name)
        node.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(root), tmp_path / "i3d_torchscript.pt")
    loaded = I3D.from_pretrained(tmp_path / "i3d_torchscript.pt").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_torchscript_file_of_other_names_runs_only_when_asked_for(tmp_path):
    path = tmp_path / "other.pt"
    torch.jit.save(torch.jit.script(Script()), path)
    with pytest.raises(UserError, match="own code if you trust it"):
        I3D.from_pretrained(path)
    logits = ScriptedI3D.from_script(path)(torch.full((2, 3, 9, 224, 224), 0.5))["logits"]
    assert torch.allclose(logits, 0.5 * torch.linspace(-1, 1, 400).expand(2, 400), atol=1e-4)
    features = _video(str(path), "cpu", trust_script=True)
    assert features.label == "FD-I3D" and features.identity()["network"] == "ScriptedI3D"
    assert features(torch.zeros(1, 3, 9, 224, 224)).shape == (1, 400)
    torch.jit.save(torch.jit.script(Script(classes=600)), path)
    with pytest.raises(UserError, match=r"returned \(1, 600\)"):
        ScriptedI3D.from_script(path)(torch.zeros(1, 3, 9, 224, 224))
    path.write_text("no archive")
    with pytest.raises(UserError, match="cannot be loaded as TorchScript"):
        ScriptedI3D.from_script(path)
