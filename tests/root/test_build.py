import pytest

from moda.build import build, with_settings
from moda.errors import UserError
from moda.motion.layout import MotionLayout

SPEC = {"_target_": "moda.motion.layout.get_layout", "name": "head59"}


def test_builds_a_component_of_ours() -> None:
    assert isinstance(build(SPEC), MotionLayout)


def test_a_user_error_of_the_component_comes_through() -> None:
    with pytest.raises(UserError, match="^unknown motion layout 'tail99'"):
        build({**SPEC, "name": "tail99"})


def test_settings_that_a_component_does_not_take_are_one_line() -> None:
    with pytest.raises(
        UserError, match="^cannot build get_layout of these settings: .*unexpected keyword argument 'size'"
    ):
        build({**SPEC, "size": 3})
    with pytest.raises(UserError, match="^cannot build RectifiedFlow of these settings: .*not supported between"):
        build({"_target_": "moda.flow.rectified.RectifiedFlow", "steps": "many"})


@pytest.mark.parametrize(
    "spec",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "modal.run"},
        {**SPEC, "name": [{"_target_": "subprocess.run", "args": ["true"]}]},
    ],
)
def test_refuses_anything_else_at_any_depth(spec: dict) -> None:
    with pytest.raises(UserError, match="refusing to build"):
        build(spec)


def test_settings_are_laid_over_a_spec_and_unknown_ones_named() -> None:
    spec = {
        "_target_": "moda.codec.liveportrait.LivePortraitCodec",
        "batch": 2,
        "driving": {"mode": "absolute", "region": "lip"},
    }
    changed = with_settings(spec, {"driving": {"mode": "relative"}, "size": 256})
    assert changed == spec | {"driving": {"mode": "relative", "region": "lip"}, "size": 256}
    assert spec["driving"]["mode"] == "absolute"
    with pytest.raises(UserError, match="LivePortraitCodec has no setting 'colour', only directory, device"):
        with_settings(spec, {"colour": 1})
    with pytest.raises(UserError, match="refusing to build"):
        with_settings({"_target_": "os.system"}, {"command": "true"})
