import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from moda.overrides import quoted


@pytest.mark.parametrize("text", ["", "a", "it's", "a\\", "a\\\\'b\\'", "x, y=z", "null", "^lo", '"', "{", "a\\b"])
def test_any_text_can_be_a_value(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"name={quoted(text)}"])
    assert override.value() == text
