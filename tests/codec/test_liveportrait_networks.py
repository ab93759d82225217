"""The networks against what the originals compute, and what holds for any weights."""

import pytest
import torch
from golden_rule import by_rule, normal_input
from liveportrait_golden import agrees, keypoints, outputs
from liveportrait_numbers import ANOTHER_SALT, GOLDEN

from moda.codec.liveportrait.layers import SpectralConv2d
from moda.codec.liveportrait.networks import KINDS, channels_last
from moda.codec.liveportrait.spade import SpadeResnetBlock
from moda.codec.liveportrait.warping import DenseMotionNetwork, WarpingModule, heatmaps, identity_grid, sample

SIZES = {
    "appearance_feature_extractor": (107, 836_224),
    "motion_extractor": (212, 28_118_728),
    "warping_module": (97, 45_529_829),
    "spade_generator": (182, 55_365_388),
    "stitching": (8, 45_249),
    "lip": (8, 37_311),
    "eye": (12, 144_703),
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", SIZES)
def test_entries_and_parameters_are_those_of_the_official_file(name):
    with torch.device("meta"):
        network = KINDS[name]()
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == SIZES[name]


@pytest.mark.parametrize(
    "network",
    [*("stitching", "lip", "eye"), *(pytest.param(name, marks=pytest.mark.slow) for name in list(SIZES)[:4])],
)
@pytest.mark.parametrize(("salt", "golden"), [("moda-lightning", GOLDEN), ("another-salt", ANOTHER_SALT)])
def test_agrees_with_the_original(network, salt, golden):
    made = outputs(network, salt)
    assert made
    for name, output in made.items():
        assert agrees(name, output, golden[name]), name


def test_dense_motion_of_equal_keypoints_is_the_identity_whatever_the_weights():
    size, points = (16, 8, 8), 0.4 * torch.randn(2, 21, 3)
    torch.manual_seed(0)
    network = small_dense_motion()
    deformation, occlusion = network(torch.randn(1, 32, *size), points, points)
    assert deformation.shape == (2, *size, 3) and occlusion.shape == (2, 1, 8, 8)
    assert (deformation - identity_grid(size)).abs().max() < 1e-6


@pytest.mark.slow
def test_one_feature_volume_serves_all_frames_and_a_batch_changes_nothing():
    network = by_rule(WarpingModule)
    feature, moves = normal_input("feature_volume", (1, 32, 16, 64, 64)), keypoints()
    driving = torch.cat([moves["kp_driving"], moves["kp_source"]])
    both = network(feature, kp_driving=driving, kp_source=moves["kp_source"])
    one = network(feature, kp_driving=driving[:1], kp_source=moves["kp_source"])
    still = both["deformation"][1] - identity_grid((16, 64, 64))
    assert still.abs().max() < 1e-6
    for name, value in one.items():
        assert (both[name][:1] - value).abs().max() < 1e-4 * value.std()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("motion_extractor", (3, 3, 256, 256)), ("appearance_feature_extractor", (2, 3, 256, 256)), ("spade_generator", (2, 256, 64, 64))])  # fmt: skip
def test_what_a_network_makes_of_one_does_not_depend_on_its_batch(name, shape):
    network, x = by_rule(KINDS[name]), normal_input("batch", shape)
    together, alone = network(x), network(x[1:2])
    if name != "motion_extractor":
        together, alone = {"out": together}, {"out": alone}
    for key, value in alone.items():
        assert (together[key][1:2] - value).abs().max() < 1e-4 * together[key].std()


def small_dense_motion() -> DenseMotionNetwork:
    """The network itself, its hourglass replaced by one layer: the algorithm around it is what is looked at."""
    network = DenseMotionNetwork.__new__(DenseMotionNetwork)
    torch.nn.Module.__init__(network)
    network.compress, network.norm = torch.nn.Conv3d(32, 4, 1), torch.nn.BatchNorm3d(4)
    network.add_module("hourglass", torch.nn.Conv3d(110, 6, 3, padding=1))
    network.mask, network.occlusion = torch.nn.Conv3d(6, 22, 7, padding=3), torch.nn.Conv2d(96, 1, 7, padding=3)
    return network.eval()


def test_slots_hold_a_heatmap_and_four_features_each():
    network, size = small_dense_motion(), (16, 8, 8)
    seen = []
    network.hourglass.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    source, driving = 0.4 * torch.randn(1, 21, 3), 0.4 * torch.randn(1, 21, 3)
    feature = torch.randn(1, 32, *size)
    network(feature, driving, source)
    slots = seen[0].unflatten(1, (22, 5))
    grid = identity_grid(size)
    assert torch.allclose(slots[:, :, 0], heatmaps(grid, driving, source), atol=1e-6)
    assert not slots[:, 0, 0].any()
    compressed = network.norm(network.compress(feature)).relu()
    moved = sample(compressed, (grid - driving[0, 6] + source[0, 6])[None])
    assert torch.allclose(slots[:, 7, 1:], moved, atol=1e-5)


def test_sampling_takes_the_ends_of_the_grid_for_outer_edges():
    line = torch.arange(4.0).expand(1, 1, 3, 4, 4)
    sampled = sample(line, identity_grid((3, 4, 4))[None])
    # the ends look half a voxel outside, where half of what is seen is nothing
    assert sampled[0, 0, 1, 1].tolist() == pytest.approx([0, 5 / 6, 13 / 6, 3 / 2], abs=1e-5)


def test_spectral_weights_are_divided_by_their_largest_singular_value():
    torch.manual_seed(0)
    conv = SpectralConv2d(5, 7, 3)
    weight = torch.randn(7, 5, 3, 3)
    u, s, v = torch.linalg.svd(weight.flatten(1))
    conv.load_state_dict({"weight_orig": weight, "bias": torch.zeros(7), "weight_u": u[:, 0], "weight_v": v[0]})
    assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2) == pytest.approx(1, abs=1e-5)
    x = torch.randn(1, 5, 6, 6)
    assert torch.allclose(conv(x), torch.nn.functional.conv2d(x, weight / s[0], padding=1), atol=1e-5)
    assert set(conv.state_dict()) == {"weight_orig", "bias", "weight_u", "weight_v"}


def test_channels_last_and_bfloat16_change_nothing_but_precision():
    torch.manual_seed(0)
    block = SpadeResnetBlock(16, 8)
    for module in block.modules():
        if isinstance(module, SpectralConv2d):
            torch.nn.init.normal_(module.weight, std=0.1)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    x, labels = torch.randn(2, 16, 12, 12), torch.randn(2, 256, 6, 6)
    expected = block(x, labels)
    channels_last(block)
    assert block.conv_0.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(block(x, labels), expected, atol=1e-4)
    half = block.bfloat16()(x.bfloat16(), labels.bfloat16()).float()
    assert (half - expected).abs().mean() < 0.02 * expected.std()
