"""Guidance of a field whose conditions each add a number: what comes out is known, and so is what it costs."""

from itertools import pairwise

import pytest
import torch

from moda.errors import UserError
from moda.flow.guidance import Guidance, guide
from moda.flow.rectified import RectifiedFlow, parse_guidance

EFFECTS = {"audio": 3.0, "emotion": 0.5, "identity": -2.0}
INTERACTION = 0.25  # of sound with emotion
X = torch.zeros(2, 1)


class Field:
    """1 without conditions; each that is shown adds its effect. Counts its passes."""

    def __init__(self):
        self.passes = 0

    def __call__(self, x, sigma, branches):
        self.passes += len(branches)
        return [torch.full_like(x, self.value(EFFECTS.keys() - set(branch))) for branch in branches]

    @staticmethod
    def value(shown):
        return 1 + sum(EFFECTS[name] for name in shown) + INTERACTION * (shown >= {"audio", "emotion"})


def guided(scales, interval=(0.0, 1.0), sigma=0.5):
    field = Field()
    result = guide(field, Guidance(scales, interval))(X, torch.tensor(sigma))
    return result[0, 0].item(), field.passes


def test_equal_scales_are_the_joint_form_in_two_passes():
    without, whole = Field.value({"identity"}), Field.value(EFFECTS.keys())
    for scale in (0.0, 1.2, 3.0):
        value, passes = guided({"audio": scale, "emotion": scale})
        assert value == pytest.approx(without + scale * (whole - without)) and passes == 2
    assert RectifiedFlow().guidance_of(2.0) == Guidance({"audio": 2.0, "emotion": 2.0})


def test_scales_of_one_cost_one_pass():
    assert guided({"audio": 1.0, "emotion": 1.0}) == (Field.value(EFFECTS.keys()), 1)
    assert guided({}) == (Field.value(EFFECTS.keys()), 1)


@pytest.mark.parametrize(
    ("scales", "passes"),
    [
        ({"audio": 2.0, "emotion": 3.0, "identity": 0.5}, 4),
        ({"audio": 2.0, "emotion": 2.0, "identity": 0.5}, 3),
        ({"audio": 1.0, "emotion": 2.0, "identity": 2.0}, 2),
        ({"audio": 1.0, "emotion": 2.0, "identity": 3.0}, 3),
        ({"audio": 2.0, "emotion": 1.0, "identity": 1.0}, 3),
        ({"identity": 2.0, "audio": 4.0}, 3),  # in this order
    ],
)
def test_each_scale_multiplies_what_its_condition_adds(scales, passes):
    names = list(scales)
    kept = EFFECTS.keys() - scales.keys()
    values = [Field.value(kept | set(names[:k])) for k in range(len(names) + 1)]
    added = [after - before for before, after in pairwise(values)]
    expected = values[0] + sum(scale * effect for scale, effect in zip(scales.values(), added, strict=True))
    value, spent = guided(scales)
    assert value == pytest.approx(expected) and spent == passes


@pytest.mark.parametrize(("sigma", "applied"), [(0.1, False), (0.3, True), (0.5, True), (0.8, True), (0.81, False)])
def test_outside_of_its_interval_guidance_is_neither_applied_nor_paid_for(sigma, applied):
    value, passes = guided({"audio": 2.0, "emotion": 2.0}, (0.3, 0.8), sigma)
    whole = Field.value(EFFECTS.keys())
    assert passes == (2 if applied else 1) and (value == whole) != applied


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="guidance of audio is -0.5"):
        Guidance({"audio": -0.5})
    with pytest.raises(UserError, match=r"guidance_interval=\[0.8, 0.3\]"):
        Guidance({"audio": 2.0}, (0.8, 0.3))
    with pytest.raises(UserError, match=r"guidance of identity: this run was trained with flow.guided=\['audio'"):
        RectifiedFlow().guidance_of({"identity": 2.0})
    with pytest.raises(UserError, match=r"flow.guidance names emotion, but flow.guided=\['audio'\] does not"):
        RectifiedFlow(guidance={"audio": 1.2, "emotion": 2.0}, guided=("audio",))
    with pytest.raises(UserError, match=r"flow.guided=audio: must be a list; write flow.guided=\[audio\]"):
        RectifiedFlow(guided="audio")
    with pytest.raises(UserError, match="shift=0"):
        RectifiedFlow().sampled(shift=0)
    assert RectifiedFlow().guidance_of({"emotion": 2.0}).scales == {"audio": 1.0, "emotion": 2.0}


@pytest.mark.parametrize("scale", ["abc", float("nan"), {"audio": "a"}, [1.0]])
def test_guidance_that_is_no_number_is_named(scale):
    with pytest.raises(UserError, match="guidance of audio is "):
        RectifiedFlow(guidance=scale)


@pytest.mark.parametrize("interval", [0.5, [0.1], [0.0, 0.5, 1.0], ["a", "b"], "ab", [0.0, float("nan")]])
def test_what_is_no_interval_is_named(interval):
    with pytest.raises(UserError, match=r"flow.guidance_interval=.*: needs two numbers \[low, high\]"):
        RectifiedFlow(guidance_interval=interval)


def test_a_flow_can_be_sampled_otherwise():
    flow = RectifiedFlow(steps=7).sampled("heun", 3.0, [0.2, 0.9])
    assert flow.steps == 7 and flow.guidance_of(None).interval == (0.2, 0.9)
    assert flow.grid(2).tolist() == pytest.approx([1.0, 0.75, 0.0])
    assert RectifiedFlow().sampled() == RectifiedFlow()


def test_guidance_is_read_from_text():
    assert parse_guidance("1.5") == 1.5 and parse_guidance("audio=2, emotion=1") == {"audio": 2.0, "emotion": 1.0}
    for text in ("much", "audio=", "audio=2,3", "audio=2, audio=3"):
        with pytest.raises(UserError, match="cannot be read; give"):
            parse_guidance(text)
