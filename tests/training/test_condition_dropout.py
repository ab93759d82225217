import pytest
import torch

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.training.base import build_module
from moda.training.dit_module import CHANCES, ConditionDropout
from moda.training.draws import Draws

COUNT = 20_000


def drawn(guided: tuple[str, ...], **probabilities: float) -> dict[str, torch.Tensor]:
    chances = Draws(0, "train", torch.arange(COUNT)).uniform(CHANCES)
    none = {"joint": 0, "audio": 0, "emotion": 0, "identity": 0}
    return ConditionDropout(**{**none, **probabilities}).conditions(chances, guided)


def test_the_joint_drop_removes_exactly_what_guidance_removes() -> None:
    drop = drawn(("audio", "emotion"), joint=0.2)
    assert torch.equal(drop["drop_audio"], drop["drop_emotion"])
    assert drop["drop_audio"].float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert not drop["drop_identity"].any()


def test_independent_drops_come_on_top() -> None:
    drop = drawn(("audio", "emotion"), joint=0.1, audio=0.2, identity=0.3)
    rate = {name: value.float().mean().item() for name, value in drop.items()}
    assert rate["drop_audio"] == pytest.approx(1 - 0.9 * 0.8, abs=0.01)
    assert rate["drop_emotion"] == pytest.approx(0.1, abs=0.01)
    both = (drop["drop_audio"] & drop["drop_identity"]).float().mean().item()
    assert both == pytest.approx(rate["drop_audio"] * rate["drop_identity"], abs=0.01)


def test_guidance_away_from_what_is_never_shown_is_said(configure, tiny_dataset, recwarn) -> None:
    def warnings(*overrides: str) -> list[str]:
        recwarn.clear()
        build_module(configure("dit", "x", "model.space=motion", *overrides), DatasetManifest.load(tiny_dataset))
        return [str(warning.message) for warning in recwarn if "guidance" in str(warning.message)]

    never = ("condition_dropout.joint=0", "condition_dropout.audio=0")
    (line,) = warnings(*never)
    assert "without audio, which is never trained with condition_dropout.joint=0, condition_dropout.audio=0" in line
    assert not warnings(never[0]) and not warnings(never[1]) and not warnings(*never, "flow.guidance.audio=1")


@pytest.mark.parametrize("probability", [1, -0.1, float("nan"), "abc"])
def test_what_is_no_probability_below_one_is_refused(probability) -> None:
    with pytest.raises(UserError, match=f"condition_dropout.audio={probability}"):
        ConditionDropout(audio=probability)
