"""The closed formulas agree with counting, and layouts made equal are equal."""

from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moda.build import build
from moda.errors import UserError
from moda.models.cost import QUANTITIES, matching, mmdit_costs, total
from moda.models.mmdit import MMDiT

GROUPS = {
    "four": [["motion"], ["audio"], ["emotion"], ["identity"]],
    "two": [["motion"], ["audio", "emotion", "identity"]],
    "one": [["motion", "audio", "emotion", "identity"]],
}
SIZES: dict[str, Any] = {"motion_dim": 6, "audio_layers": 2, "audio_dim": 5, "identity_dim": 4, "width": 32, "heads": 4}
# what the presets are made equal for: a window of 80 frames in the preset's own space, phoneme features
DATA = {
    "mmdit_b": ({"motion_dim": 70, "audio_layers": 12, "audio_dim": 768, "identity_dim": 63}, 80),
    "mmdit_demo": ({"motion_dim": 32, "audio_layers": 1, "audio_dim": 190, "identity_dim": 63}, 20),
}


def stages(**depths: int) -> list[dict[str, Any]]:
    return [{"depth": depth, "groups": GROUPS[name]} for name, depth in depths.items()]


def counted(network: MMDiT, tokens: int, frames: int) -> int:
    controls = {"controls": torch.zeros(1, frames, sum(network.controls.values()))} if network.controls else {}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(
            torch.zeros(1, tokens, 6),
            torch.zeros(1),
            audio=torch.zeros(1, frames, 2, 5),
            identity=torch.zeros(1, 4),
            emotion=torch.zeros(1, dtype=torch.long),
            previous_motion=torch.zeros(1, max(network.context, 1), 6),
            **controls,
        )
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        (stages(four=2, two=1, one=3), {}),
        (stages(one=2), {"repeat_conditions": True, "mlp_ratio": 3.0}),
        (stages(four=3), {}),
        (stages(one=1, two=2), {"context": 3, "mix_audio_layers": True}),
        (stages(four=1, one=2), {"controls": {"pose": 3, "distance": 1}, "late_audio": 2, "frames_per_token": 2}),
    ],
)
def test_the_formula_is_what_counting_gives(layout, changes):
    settings = SIZES | changes | {"stages": layout}
    network, formula = MMDiT(**settings), total(mmdit_costs(settings, tokens=5, frames=10))
    assert formula.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert formula.flops == counted(network, tokens=5, frames=10)


def test_each_stage_has_its_own_line():
    costs = mmdit_costs(SIZES | {"stages": stages(four=1, two=2)}, tokens=4, frames=4)
    assert list(costs) == [
        "embedders",
        "stage 1: 1 x [motion][audio][emotion][identity]",
        "stage 2: 2 x [motion][audio+emotion+identity]",
        "output",
    ]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("layout", [stages(one=1), stages(four=1), stages(two=1, one=2)])
def test_a_layout_is_brought_to_the_cost_of_another(layout, quantity):
    settings = SIZES | {"width": 128, "repeat_conditions": True}
    target = getattr(total(mmdit_costs(settings | {"stages": stages(four=3, two=6, one=12)}, 80, 80)), quantity)
    found = matching(settings | {"stages": layout}, target, quantity, 80, 80)
    reached = getattr(total(mmdit_costs(settings | found, 80, 80)), quantity)
    assert reached == pytest.approx(target, rel=0.01)
    assert found["mlp_ratio"] == pytest.approx(4, abs=1)
    assert [stage["groups"] for stage in found["stages"]] == [stage["groups"] for stage in layout]


def test_what_cannot_be_made_equal_is_refused():
    settings = SIZES | {"stages": stages(four=1)}
    with pytest.raises(UserError, match="no depth"):
        matching(settings, 1000, "parameters", 80, 80)
    with pytest.raises(UserError, match="'seconds'"):
        matching(settings, 1000, "seconds", 80, 80)


def preset(name: str) -> dict[str, Any]:
    with initialize_config_module("moda.conf", version_base=None):
        network = OmegaConf.to_container(compose(overrides=[f"+model={name}"]).model.network)
    assert isinstance(network, dict)
    return {str(key): value for key, value in network.items()}


@pytest.mark.parametrize("reference", DATA)
@pytest.mark.parametrize("layout", ["all_joint", "all_single", "no_coarse"])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_presets_are_equal_to_their_reference(reference, layout, quantity):
    sizes, tokens = DATA[reference]
    ours, theirs = preset(f"{reference}_{layout}_{quantity}") | sizes, preset(reference) | sizes
    a, b = (getattr(total(mmdit_costs(network, tokens, 80)), quantity) for network in (ours, theirs))
    assert a == pytest.approx(b, rel=0.02)
    assert (ours["width"], ours["heads"]) == (theirs["width"], theirs["heads"])
    with torch.device("meta"):
        assert (
            sum(parameter.numel() for parameter in build(ours).parameters())
            == total(mmdit_costs(ours, tokens, 80)).parameters
        )


@pytest.mark.parametrize("reference", DATA)
def test_another_grouping_costs_the_same(reference):
    sizes, tokens = DATA[reference]
    ours, theirs = (
        total(mmdit_costs(preset(name) | sizes, tokens, 80)) for name in (f"{reference}_audio_apart", reference)
    )
    assert ours == theirs
